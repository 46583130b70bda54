import Model
import Platform

/// Writes down what a restore in place will make and change, before it begins.
final class UndoRecorder {
    /// One thing that will happen.
    enum Line {
        /// Something is made where nothing stood, with everything below it.
        case created([UInt8])
        /// Something is replaced or removed, with everything below it.
        case changed([UInt8])
        /// A directory as it was.
        case directory([UInt8], RecordedDirectory)

        init?(_ bytes: ArraySlice<UInt8>) {
            guard let tag = bytes.first else { return nil }
            let rest = bytes.dropFirst()
            switch tag {
            case UInt8(ascii: "+"): self = .created(Array(rest))
            case UInt8(ascii: "*"): self = .changed(Array(rest))
            case UInt8(ascii: "d"):
                let words = rest.split(separator: 0x20, maxSplits: 7, omittingEmptySubsequences: false)
                guard words.count == 8, let directory = RecordedDirectory(words[..<7]) else { return nil }
                self = .directory(Array(words[7]), directory)
            default: return nil
            }
        }
    }

    let name: String
    private let file: FileDescriptor
    private var buffer: [UInt8] = []

    init(name: String, file: consuming FileDescriptor) {
        self.name = name
        self.file = file
    }

    func created(_ path: [UInt8]) throws(Errno) { try write(UInt8(ascii: "+"), path) }
    func changed(_ path: [UInt8]) throws(Errno) { try write(UInt8(ascii: "*"), path) }

    func directory(_ path: [UInt8], _ directory: RecordedDirectory) throws(Errno) {
        try write(UInt8(ascii: "d"), directory.words + [0x20] + path)
    }

    private func write(_ tag: UInt8, _ bytes: [UInt8]) throws(Errno) {
        buffer.append(tag)
        buffer.append(contentsOf: bytes)
        buffer.append(0)
        if buffer.count >= 64 << 10 { try flush() }
    }

    private func flush() throws(Errno) {
        try file.writeAll(buffer)
        buffer.removeAll(keepingCapacity: true)
    }

    /// Everything is on the disk.
    func finish() throws(Errno) {
        try flush()
        try file.sync()
    }
}

/// The metadata of a directory, as they were before something happened in it.
struct RecordedDirectory: Hashable, Sendable {
    var mode: UInt16
    var uid: UInt32
    var gid: UInt32
    var mtime: FileInstant
    var flags: InodeFlags
    var attributes: [ExtendedAttribute]

    /// As an open directory is now.
    init(_ handle: OpenHandle) throws(Errno) {
        let status = try handle.descriptor.status()
        mode = status.mode
        uid = status.uid
        gid = status.gid
        mtime = status.modified
        // Not every file system has flags.
        flags = (try? FileSystem.flags(descriptor: handle.raw))?.intersection(.settable) ?? []
        var reader = AttributeReader()
        attributes = try reader.read(at: handle.raw, "").map { ExtendedAttribute(name: $0.name, value: $0.value) }
    }

    /// Seven words: numbers, then names and values of attributes in hexadecimal digits.
    init?(_ words: ArraySlice<ArraySlice<UInt8>>) {
        let numbers = words.prefix(6).compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
        guard numbers.count == 6, let last = words.last, let mode = UInt16(exactly: numbers[0]),
            let uid = UInt32(exactly: numbers[1]), let gid = UInt32(exactly: numbers[2]),
            let nanoseconds = UInt32(exactly: numbers[4]), let flags = UInt32(exactly: numbers[5])
        else { return nil }
        self.mode = mode
        self.uid = uid
        self.gid = gid
        mtime = FileInstant(seconds: numbers[3], nanoseconds: nanoseconds)
        self.flags = InodeFlags(rawValue: flags)
        attributes = []
        for pair in last.split(separator: UInt8(ascii: ",")) where pair != [UInt8(ascii: "-")] {
            let sides = pair.split(separator: UInt8(ascii: "="), omittingEmptySubsequences: false).map {
                Hex.decode(String(decoding: $0, as: UTF8.self))
            }
            guard sides.count == 2, let name = sides[0], let value = sides[1] else { return nil }
            attributes.append(ExtendedAttribute(name: name, value: value))
        }
    }

    var words: [UInt8] {
        let pairs = attributes.map { "\(Hex.encode($0.name))=\(Hex.encode($0.value))" }
        let list = pairs.isEmpty ? "-" : pairs.joined(separator: ",")
        return Array(
            "\(mode) \(uid) \(gid) \(mtime.seconds) \(mtime.nanoseconds) \(flags.rawValue) \(list)".utf8)
    }

    /// As an entry of a point would have it.
    var entry: Entry {
        Entry(
            kind: .directory, mode: mode, uid: uid, gid: gid,
            mtime: FileTime(seconds: mtime.seconds, nanoseconds: mtime.nanoseconds), attributes: attributes,
            flags: flags.rawValue)
    }
}
