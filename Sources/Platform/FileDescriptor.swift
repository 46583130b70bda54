import CLinux

/// An open file, closed when the value goes away.
///
/// On write paths call `close()`, which reports what the file system has to say; the silent close at the end of the
/// value's life is for reading and for errors.
package struct FileDescriptor: ~Copyable, Sendable {
    /// The number, for calls that borrow it. It must not outlive the value.
    package let raw: Int32

    /// Takes ownership of an open descriptor.
    package init(owning raw: Int32) { self.raw = raw }

    deinit { _ = hf_close(raw) }

    /// Closes and reports. After an error, `EINTR` included, the descriptor is closed all the same.
    package consuming func close() throws(Errno) {
        let number = release()
        let outcome = hf_close(number)
        // Linux has closed it when it says EINTR, and the data were not at stake.
        if outcome < 0 && outcome != -4 { throw Errno(code: Int32(-outcome)) }
    }

    /// Gives up ownership; the caller closes.
    package consuming func release() -> Int32 {
        let number = raw
        discard self
        return number
    }

    /// Another descriptor of the same open file, closed on exec.
    package func duplicate() throws(Errno) -> FileDescriptor {
        FileDescriptor(owning: Int32(try retrying { hf_duplicate(raw) }))
    }
}

/// How a file is opened. Descriptors are always closed on exec, and terminals never become the controlling one.
package struct OpenFlags: OptionSet, Sendable {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }

    package static let readOnly = OpenFlags([])
    package static let writeOnly = OpenFlags(rawValue: HF_O_WRONLY)
    package static let readWrite = OpenFlags(rawValue: HF_O_RDWR)
    /// Makes the file when there is none.
    package static let create = OpenFlags(rawValue: HF_O_CREAT)
    /// With `create`: fails with `exists` when there is one, be it a symbolic link.
    package static let exclusive = OpenFlags(rawValue: HF_O_EXCL)
    package static let truncate = OpenFlags(rawValue: HF_O_TRUNC)
    package static let append = OpenFlags(rawValue: HF_O_APPEND)
    package static let nonBlocking = OpenFlags(rawValue: HF_O_NONBLOCK)
    /// Follows a symbolic link in the last place; without it such a link is refused with `symbolicLink`.
    package static let followLink = OpenFlags(rawValue: 1 << 30)
    package static let directory = OpenFlags(rawValue: HF_O_DIRECTORY)
    /// Reading leaves the access time alone; only for the owner and root, else `notPermitted`.
    package static let noAccessTime = OpenFlags(rawValue: HF_O_NOATIME)
    /// Only a reference: nothing is opened, a symbolic link is referred to itself.
    package static let pathOnly = OpenFlags(rawValue: HF_O_PATH)
    /// A file without a name in the directory named, for `FileSystem.link(descriptor:)`.
    package static let unnamed = OpenFlags(rawValue: HF_O_TMPFILE)
    package static let direct = OpenFlags(rawValue: HF_O_DIRECT)

    /// The flags for the kernel. openat2 refuses flags that have no meaning together, so references get few.
    var kernel: Int32 {
        let always = HF_O_CLOEXEC | (contains(.followLink) ? 0 : HF_O_NOFOLLOW)
        if contains(.pathOnly) { return intersection([.pathOnly, .directory]).rawValue | always }
        return subtracting(.followLink).rawValue | HF_O_NOCTTY | always
    }
}

extension FileDescriptor {
    /// Opens a name in a directory. `mode` is for files that are made.
    package static func open(
        at directory: Int32 = FileSystem.currentDirectory,
        _ name: UnsafePointer<CChar>,
        _ flags: OpenFlags,
        mode: UInt32 = 0o600
    ) throws(Errno) -> FileDescriptor {
        FileDescriptor(owning: Int32(try retrying { hf_openat(directory, name, flags.kernel, mode) }))
    }

    /// As the other `open`, for a name or path in an array.
    package static func open(
        at directory: Int32 = FileSystem.currentDirectory,
        _ name: [UInt8],
        _ flags: OpenFlags,
        mode: UInt32 = 0o600
    ) throws(Errno) -> FileDescriptor {
        try withCName(name) { (pointer) throws(Errno) in try open(at: directory, pointer, flags, mode: mode) }
    }

    /// Opens a file for reading as a backup does: no link is followed, the access time is left alone where that is
    /// allowed, and what turned out to be a FIFO or a device does not block.
    package static func openForReading(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno)
        -> FileDescriptor
    {
        var flags: OpenFlags = [.readOnly, .noAccessTime, .nonBlocking]
        while true {
            do throws(Errno) {
                return try open(at: directory, name, flags)
            } catch {
                if error == .notPermitted && flags.contains(.noAccessTime) {
                    flags.remove(.noAccessTime)
                } else if error == .again && flags.contains(.nonBlocking) {
                    // Somebody holds a lease on the file; a blocking open waits until the kernel has broken it.
                    flags.remove(.nonBlocking)
                } else {
                    throw error
                }
            }
        }
    }

    /// Opens a directory for listing, its access time left alone where that is allowed. A link is not followed.
    package static func openDirectory(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> FileDescriptor
    {
        do throws(Errno) {
            return try open(at: directory, name, [.readOnly, .directory, .noAccessTime])
        } catch {
            guard error == .notPermitted else { throw error }
            return try open(at: directory, name, [.readOnly, .directory])
        }
    }

    /// Opens a directory on the way to something else. One that may be entered and not read, as others' homes often are,
    /// is opened as a reference (`pathOnly`): names in it can be used, it cannot be listed or waited for.
    ///
    /// - Parameter isReference: whether it was.
    package static func openPassage(
        at directory: Int32, _ name: UnsafePointer<CChar>, isReference: inout Bool
    ) throws(Errno) -> FileDescriptor {
        isReference = false
        do throws(Errno) { return try open(at: directory, name, [.readOnly, .directory]) } catch {
            guard error == .accessDenied else { throw error }
        }
        let opened = try open(at: directory, name, [.pathOnly, .directory])
        isReference = true
        return opened
    }

    /// A pipe: what is written to the second can be read from the first. Both are closed on exec.
    package static func pipe() throws(Errno) -> (reading: Int32, writing: Int32) {
        var ends: (Int32, Int32) = (-1, -1)
        _ = try retrying {
            withUnsafeMutableBytes(of: &ends) { hf_pipe($0.baseAddress!.assumingMemoryBound(to: Int32.self)) }
        }
        return (ends.0, ends.1)
    }
}

// MARK: - Reading and writing

extension FileDescriptor {
    /// Reads what is there, at most `buffer.count` bytes; 0 at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        try retrying { hf_read(raw, buffer.baseAddress, buffer.count) }
    }

    /// Reads until the buffer is full or the file ends; returns how many bytes that were.
    package func readFully(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        var done = 0
        while done < buffer.count {
            let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Reads from an offset until the buffer is full or the file ends; returns how many bytes that were.
    package func readFully(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(Errno) -> Int {
        var done = 0
        while done < buffer.count {
            let start = Int64(clamping: offset) &+ Int64(done)
            let count = try retrying {
                hf_pread(raw, buffer.baseAddress.unsafelyUnwrapped + done, buffer.count - done, start)
            }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// The bytes from the current position to the end. Throws `tooLarge` when there are more than `limit`.
    package func readAll(limit: Int) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: min(max(limit, 1) + 1, 64 * 1024), alignment: 16)
        defer { buffer.deallocate() }
        while true {
            let count = try read(into: buffer)
            if count == 0 { return bytes }
            if bytes.count + count > limit { throw .tooLarge }
            bytes.append(contentsOf: buffer[..<count])
        }
    }

    /// Writes all bytes at the current position.
    package func writeAll(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
        var done = 0
        while done < bytes.count {
            let count = try retrying {
                hf_write(raw, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done)
            }
            // A regular file never answers 0; anything that does would spin.
            if count == 0 { throw .inputOutput }
            done += count
        }
    }

    /// Writes all bytes at an offset.
    package func writeAll(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        var done = 0
        while done < bytes.count {
            let start = Int64(clamping: offset) &+ Int64(done)
            let count = try retrying {
                hf_pwrite(raw, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done, start)
            }
            if count == 0 { throw .inputOutput }
            done += count
        }
    }

    /// Writes all bytes of an array at the current position.
    package func writeAll(_ bytes: [UInt8]) throws(Errno) {
        var failure: Errno?
        bytes.withUnsafeBytes { buffer in
            do throws(Errno) { try writeAll(buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Moves the current position; returns the new one, counted from the beginning.
    @discardableResult
    package func seek(to offset: UInt64) throws(Errno) -> UInt64 {
        UInt64(try retrying { hf_lseek(raw, Int64(clamping: offset), HF_SEEK_SET) })
    }

    /// Sets the size; what is added is a hole.
    package func truncate(to size: UInt64) throws(Errno) {
        try retrying { hf_ftruncate(raw, Int64(clamping: size)) }
    }

    /// Waits until content and metadata are on the disk. After an error the written data must be counted as lost:
    /// a second call that succeeds says nothing about them.
    package func sync() throws(Errno) { try retrying { hf_fsync(raw) } }

    /// As `sync`, without metadata that reading does not need.
    package func syncData() throws(Errno) { try retrying { hf_fdatasync(raw) } }

    /// The status of the open file.
    package func status() throws(Errno) -> FileStatus { try FileSystem.status(at: raw, "") }
}
