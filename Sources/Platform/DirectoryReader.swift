import CLinux

/// Lists directories with one buffer that is used again for each.
///
/// ```
/// var reader = DirectoryReader()
/// reader.start(directory.raw)
/// while let entry = try reader.next() { ... }
/// ```
///
/// `.` and `..` are left out. Names come in the file system's order, which for many hashes is no order at all: read what
/// follows sorted by name (`NameList`) or by inode.
package struct DirectoryReader: ~Copyable {
    /// One name of a directory. The bytes are valid until the next call of `next` or `start`.
    package struct Name {
        /// The bytes without their terminator, which stands in memory right behind them.
        package let bytes: UnsafeRawBufferPointer
        /// What it stands for, where the file system says so.
        package let kind: FileKind?
        package let inode: UInt64

        /// The name for system calls.
        @inline(__always)
        package var pointer: UnsafePointer<CChar> {
            bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self)
        }
    }

    private let buffer: UnsafeMutableRawBufferPointer
    private var directory: Int32 = -1
    private var position = 0
    private var filled = 0

    /// A buffer of 64 KiB takes some 2,000 names per system call.
    package init(bufferSize: Int = 64 * 1024) {
        buffer = .allocate(byteCount: max(bufferSize, 1024), alignment: 8)
    }

    deinit { buffer.deallocate() }

    /// Begins with an open directory, from where its position stands (at first: the beginning).
    package mutating func start(_ directory: Int32) {
        self.directory = directory
        position = 0
        filled = 0
    }

    /// The next name, `nil` at the end. `noEntry` when the directory was removed meanwhile.
    package mutating func next() throws(Errno) -> Name? {
        while true {
            if position >= filled {
                let room = buffer
                let number = directory
                filled = try retrying { hf_getdents64(number, room.baseAddress.unsafelyUnwrapped, room.count) }
                position = 0
                if filled == 0 { return nil }
            }
            // struct linux_dirent64: u64 inode, i64 offset, u16 length of the record, u8 type, name and terminator
            let record = buffer.baseAddress.unsafelyUnwrapped + position
            let length = Int(record.load(fromByteOffset: 16, as: UInt16.self))
            let name = record + 19
            position += length
            let first = name.load(as: UInt8.self)
            let second = name.load(fromByteOffset: 1, as: UInt8.self)
            if first == UInt8(ascii: ".") {
                if second == 0 { continue }
                if second == UInt8(ascii: "."), name.load(fromByteOffset: 2, as: UInt8.self) == 0 { continue }
            }
            let count = hf_name_length(name, length - 19)
            return Name(
                bytes: UnsafeRawBufferPointer(start: name, count: count),
                kind: FileKind(directoryType: record.load(fromByteOffset: 18, as: UInt8.self)),
                inode: record.load(as: UInt64.self))
        }
    }

    /// Calls `body` with each name of an open directory, from its beginning.
    package mutating func forEach(in directory: Int32, _ body: (Name) throws -> Void) throws {
        try retrying { hf_lseek(directory, 0, HF_SEEK_SET) }
        start(directory)
        while let name = try next() { try body(name) }
    }
}
