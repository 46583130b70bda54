import Platform

/// Everything that keeps a path out of a backup: patterns, a size limit, and tags of cache directories.
package struct ExclusionPolicy: Sendable {
    package var rules: ExclusionRules
    /// Regular files larger than this are left out; in bytes.
    package var maximumSize: UInt64?
    /// Contents of directories that hold a valid `CACHEDIR.TAG` are left out; the directory and the tag are kept.
    package var skipsCaches: Bool

    package init(rules: ExclusionRules = ExclusionRules(), maximumSize: UInt64? = nil, skipsCaches: Bool = false) {
        self.rules = rules
        self.maximumSize = maximumSize
        self.skipsCaches = skipsCaches
    }

    /// Whether patterns exclude a path relative to `/`, whose name begins at `nameOffset`.
    @inline(__always)
    package func excludes(_ path: UnsafeRawBufferPointer, nameOffset: Int, isDirectory: Bool) -> Bool {
        rules.excludes(path, nameOffset: nameOffset, isDirectory: isDirectory)
    }

    /// Whether a regular file of this size is too large.
    @inline(__always)
    package func isTooLarge(_ size: UInt64) -> Bool {
        guard let maximumSize else { return false }
        return size > maximumSize
    }
}

/// The mark of directories whose content can be made again (https://bford.info/cachedir/).
package enum CacheDirectoryTag {
    /// The name of the file that marks a directory.
    package static let name: [UInt8] = Array("CACHEDIR.TAG".utf8)

    /// The file must begin with this; 43 bytes.
    static let signature: [UInt8] = Array("Signature: 8a477f597d28d172789f06886806bc55".utf8)

    /// Whether an open directory holds a valid tag: a regular file, no link, that begins with the signature.
    ///
    /// A tag that cannot be read is not valid: leaving data out needs a reason that can be seen.
    package static func isPresent(in directory: Int32) -> Bool {
        guard let file = try? FileDescriptor.openForReading(at: directory, "CACHEDIR.TAG"),
            let status = try? file.status(), status.kind == .regular, status.size >= UInt64(signature.count)
        else { return false }
        return withUnsafeTemporaryAllocation(byteCount: signature.count, alignment: 1) { buffer in
            guard let count = try? file.readFully(into: buffer) else { return false }
            return count == signature.count && UnsafeRawBufferPointer(buffer).elementsEqual(signature)
        }
    }
}
