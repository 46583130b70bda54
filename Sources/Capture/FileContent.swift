import Platform

/// Where the bytes of a large file are read from.
enum FileContent {
    case file(DirectoryHandle)
    /// What a program would see that opened the database now.
    case database(SQLiteSnapshot)

    /// Reads from an offset until the buffer is full or the content ends; returns how many bytes that were.
    func readFully(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(Errno) -> Int {
        switch self {
        case .file(let file): try file.descriptor.readFully(into: buffer, at: offset)
        case .database(let snapshot): try snapshot.readFully(into: buffer, at: offset)
        }
    }

    /// The first range of data at or after `offset`, as `FileDescriptor.nextData`.
    func nextData(from offset: UInt64, size: UInt64) throws(Errno) -> FileDescriptor.DataRange? {
        switch self {
        case .file(let file): try file.descriptor.nextData(from: offset, size: size)
        case .database(let snapshot): try snapshot.nextData(from: offset)
        }
    }
}
