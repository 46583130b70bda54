import CLinux

/// What a file system is and how full it is. Sizes in bytes.
package struct FileSystemSpace: Hashable, Sendable {
    /// The magic number of `statfs`.
    package var type: UInt64
    package var total: UInt64
    package var free: UInt64
    /// Free for those who are not root.
    package var available: UInt64
    /// 0 where the file system makes inodes as needed.
    package var inodes: UInt64
    package var inodesFree: UInt64
    package var blockSize: UInt32
    /// The longest name in bytes.
    package var nameLimit: UInt32
    package var isReadOnly: Bool

    /// The name people know, for example "ext4"; "unknown (0x1234)" for what is not in the list.
    package var typeName: String { FileSystemSpace.names[type] ?? "unknown (0x\(String(type, radix: 16)))" }

    /// Whether other hosts can write to it at the same time.
    package var isNetwork: Bool { FileSystemSpace.network.contains(typeName) }

    /// Whether the kernel makes its contents up: nothing there is worth protecting.
    package var isPseudo: Bool { FileSystemSpace.pseudo.contains(typeName) }

    private static let names: [UInt64: String] = [
        0xEF53: "ext4", 0x5846_5342: "xfs", 0x9123_683E: "btrfs", 0x0102_1994: "tmpfs", 0x6969: "nfs",
        0xFF53_4D42: "cifs", 0xFE53_4D42: "smb2", 0x517B: "smb", 0x794C_7630: "overlay", 0x9FA0: "proc",
        0x6265_6572: "sysfs", 0x6367_7270: "cgroup2", 0x0027_E0EB: "cgroup", 0x1373: "devfs", 0x1CD1: "devpts",
        0x6462_6720: "debugfs", 0x7472_6163: "tracefs", 0x7363_6673: "securityfs", 0xCAFE_4A11: "bpf",
        0x6165_676C: "pstore", 0x8584_58F6: "ramfs", 0x9584_58F6: "hugetlbfs", 0x1980_0202: "mqueue",
        0x4249_4E4D: "binfmt_misc", 0x6265_6570: "configfs", 0x6573_5543: "fusectl", 0x0187: "autofs",
        0xDE5E_81E4: "efivarfs", 0x5041_5243: "nsfs", 0x6759_6969: "rpc_pipefs", 0xF97C_FF8C: "selinux",
        0x6573_5546: "fuse", 0x4D44: "vfat", 0x2011_BAB0: "exfat", 0x7366_746E: "ntfs3", 0x2FC1_2FC1: "zfs",
        0xF2F5_2010: "f2fs", 0x9660: "iso9660", 0x7371_7368: "squashfs", 0xE0F5_E1E2: "erofs", 0xCA45_1A4E: "bcachefs",
        0x00C3_6400: "ceph", 0x0102_1997: "9p", 0x3153_464A: "jfs", 0x5265_4973: "reiserfs", 0x1501_3346: "udf",
        0x0BD0_0BD0: "lustre", 0x5346_414F: "afs", 0x7461_636F: "ocfs2", 0x0116_1970: "gfs2",
    ]
    private static let network: Set<String> = [
        "nfs", "cifs", "smb2", "smb", "ceph", "9p", "lustre", "afs", "ocfs2", "gfs2",
    ]
    private static let pseudo: Set<String> = [
        "proc", "sysfs", "cgroup2", "cgroup", "devfs", "devpts", "debugfs", "tracefs", "securityfs", "bpf", "pstore",
        "mqueue", "binfmt_misc", "configfs", "fusectl", "autofs", "efivarfs", "nsfs", "rpc_pipefs", "selinux",
        "hugetlbfs",
    ]
}

extension FileSystem {
    /// The file system that an open file is on.
    package static func space(descriptor: Int32) throws(Errno) -> FileSystemSpace {
        var raw = hf_space()
        try retrying { hf_fstatfs(descriptor, &raw) }
        return FileSystemSpace(
            type: raw.type, total: raw.total, free: raw.free, available: raw.available, inodes: raw.inodes,
            inodesFree: raw.inodes_free, blockSize: raw.block_size, nameLimit: raw.name_limit,
            isReadOnly: raw.read_only != 0)
    }

    /// Waits until everything written to the file system of an open file is on the disk.
    package static func syncFileSystem(descriptor: Int32) throws(Errno) { try retrying { hf_syncfs(descriptor) } }
}

// MARK: - Sparse files, room, sharing of blocks

extension FileDescriptor {
    /// A range of a file that holds data. What lies between such ranges is a hole.
    package struct DataRange: Hashable, Sendable {
        package var offset: UInt64
        package var length: UInt64

        package init(offset: UInt64, length: UInt64) {
            self.offset = offset
            self.length = length
        }
    }

    /// The first range of data at or after `offset`, `nil` when there is only a hole up to the end.
    ///
    /// File systems that know no holes answer with the whole file. Moves the current position.
    package func nextData(from offset: UInt64, size: UInt64) throws(Errno) -> DataRange? {
        if offset >= size { return nil }
        let start: UInt64
        do throws(Errno) {
            start = UInt64(try retrying { hf_lseek(raw, Int64(clamping: offset), HF_SEEK_DATA) })
        } catch {
            if error == .noDevice { return nil }
            if error == .invalidArgument || error.isUnsupported {
                return DataRange(offset: offset, length: size - offset)
            }
            throw error
        }
        if start >= size { return nil }
        var end = size
        do throws(Errno) {
            end = UInt64(try retrying { hf_lseek(raw, Int64(clamping: start), HF_SEEK_HOLE) })
        } catch {
            // The file was cut short between the two calls; reading will find its end.
            if error != .noDevice { throw error }
        }
        return DataRange(offset: start, length: min(max(end, start + 1), size) - start)
    }

    /// Reserves room for a range without changing the size; `false` where the file system cannot.
    @discardableResult
    package func reserve(offset: UInt64 = 0, length: UInt64) throws(Errno) -> Bool {
        if length == 0 { return true }
        do throws(Errno) {
            try retrying { hf_reserve(raw, Int64(clamping: offset), Int64(clamping: length)) }
            return true
        } catch {
            if error.isUnsupported { return false }
            throw error
        }
    }

    /// Turns a range into a hole without changing the size; `false` where the file system cannot.
    @discardableResult
    package func punchHole(offset: UInt64, length: UInt64) throws(Errno) -> Bool {
        if length == 0 { return true }
        do throws(Errno) {
            try retrying { hf_punch_hole(raw, Int64(clamping: offset), Int64(clamping: length)) }
            return true
        } catch {
            if error.isUnsupported { return false }
            throw error
        }
    }

    /// Makes this empty file share all blocks of another; `false` where the file system cannot (`FICLONE`).
    ///
    /// Throws `invalidArgument` for a file that cannot be cloned where others can, as one without copy-on-write.
    package func clone(from source: borrowing FileDescriptor) throws(Errno) -> Bool {
        let from = source.raw
        do throws(Errno) {
            try retrying { hf_clone(from, raw) }
            return true
        } catch {
            if error.isUnsupported || error == .crossDevice { return false }
            throw error
        }
    }

    /// Copies a range inside the kernel; returns how many bytes were copied, fewer only at the end of the source.
    package func copyRange(
        from source: borrowing FileDescriptor,
        offset: UInt64,
        to newOffset: UInt64,
        length: UInt64
    ) throws(Errno) -> UInt64 {
        let from = source.raw
        var done: UInt64 = 0
        while done < length {
            let step = Int(min(length - done, 1 << 30))
            let start = Int64(clamping: offset + done)
            let target = Int64(clamping: newOffset + done)
            let count: Int
            do throws(Errno) {
                count = try retrying { hf_copy_file_range(from, start, raw, target, step) }
            } catch {
                guard error == .crossDevice || error == .invalidArgument || error.isUnsupported else { throw error }
                count = try copyThroughMemory(from, start, target, min(step, 1 << 20))
            }
            if count == 0 { break }
            done += UInt64(count)
        }
        return done
    }

    private func copyThroughMemory(_ from: Int32, _ start: Int64, _ target: Int64, _ step: Int) throws(Errno) -> Int {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: step, alignment: 4096)
        defer { buffer.deallocate() }
        let count = try retrying { hf_pread(from, buffer.baseAddress, step, start) }
        try writeAll(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: UInt64(target))
        return count
    }

    /// Starts writing a range to the disk without waiting; a hint that may have no effect.
    package func startWriting(offset: UInt64, length: UInt64) {
        _ = hf_sync_file_range(raw, Int64(clamping: offset), Int64(clamping: length), HF_SYNC_FILE_RANGE_WRITE)
    }

    /// What the kernel may expect of reads.
    package enum Advice: Sendable {
        case sequential, willNeed, doneWith
    }

    /// Tells the kernel what to expect; a hint that may have no effect. A length of 0 reaches to the end.
    package func advise(_ advice: Advice, offset: UInt64 = 0, length: UInt64 = 0) {
        let number =
            switch advice {
            case .sequential: HF_FADV_SEQUENTIAL
            case .willNeed: HF_FADV_WILLNEED
            case .doneWith: HF_FADV_DONTNEED
            }
        _ = hf_fadvise(raw, Int64(clamping: offset), Int64(clamping: length), number)
    }
}
