package import Model
import Platform
import Vault

/// What the last restore in place did, so that it can be taken back.
package struct UndoRecord: Hashable, Sendable {
    package var vault: VaultID
    /// What was restored.
    package var restored: PointID
    /// The point with everything that was replaced or removed; `nil` when nothing was.
    package var before: PointID?
    /// Of the destination; `/` unless a machine's file systems were mounted elsewhere.
    package var root: [UInt8]
    package var time: Timestamp
    /// False while it runs, and for ever when it was interrupted; what it did until then can be taken back all the same.
    package var isComplete: Bool
    /// The file with the paths, beside this record.
    var list: String

    func encoded() -> [UInt8] {
        JSONValue.object([
            "before": before.map { .string($0.hex) } ?? .null,
            "complete": .bool(isComplete),
            "list": .string(list),
            "restored": .string(restored.hex),
            "root": .string(Hex.encode(root)),
            "time": .integer(time.nanoseconds),
            "vault": .string(vault.hex),
            "version": .integer(1),
        ]).encoded()
    }

    init(
        vault: VaultID, restored: PointID, before: PointID?, root: [UInt8], time: Timestamp, isComplete: Bool,
        list: String
    ) {
        self.vault = vault
        self.restored = restored
        self.before = before
        self.root = root
        self.time = time
        self.isComplete = isComplete
        self.list = list
    }

    init(decoding bytes: [UInt8]) throws {
        guard case .object(let fields) = try JSONValue(parsing: bytes), case .integer(1)? = fields["version"],
            case .string(let vaultText)? = fields["vault"], let vault = VaultID(hex: vaultText),
            case .string(let restoredText)? = fields["restored"], let restored = PointID(hex: restoredText),
            case .string(let rootText)? = fields["root"], let root = Hex.decode(rootText),
            case .integer(let time)? = fields["time"], case .bool(let isComplete)? = fields["complete"],
            case .string(let list)? = fields["list"], list.hasPrefix(UndoStore.prefix), !list.contains("/")
        else {
            throw HoldfastError(
                .damaged, "The record of the last restore in place cannot be read; it cannot be undone.")
        }
        var before: PointID?
        if case .string(let text)? = fields["before"] { before = PointID(hex: text) }
        self.init(
            vault: vault, restored: restored, before: before, root: root, time: Timestamp(nanoseconds: time),
            isComplete: isComplete, list: list)
    }
}

/// Where the machine remembers its last restore in place: two files in its state directory.
package struct UndoStore: Sendable {
    static let prefix = "last-restore-"
    private static let recordName = "last-restore.json"

    private let directory: [UInt8]

    /// - Parameter directory: the state directory, which exists.
    package init(directory: [UInt8]) { self.directory = directory }

    /// The last restore in place; `nil` when there was none, or it was taken back.
    package func last() throws -> UndoRecord? {
        do throws(Errno) {
            let file = try FileDescriptor.open(path(UndoStore.recordName), .readOnly)
            let bytes = try file.readAll(limit: 64 << 10)
            return try read(bytes)
        } catch {
            if error == .noEntry { return nil }
            throw failure(error)
        }
    }

    private func read(_ bytes: [UInt8]) throws(Errno) -> UndoRecord? {
        guard let record = try? UndoRecord(decoding: bytes) else { throw .invalidArgument }
        return record
    }

    /// Replaces the record in one step.
    func save(_ record: UndoRecord) throws {
        do throws(Errno) {
            let temporary = path(UndoStore.recordName + ".new")
            let file = try FileDescriptor.open(temporary, [.writeOnly, .create, .truncate], mode: 0o600)
            try file.writeAll(record.encoded())
            try file.sync()
            try file.close()
            let target = path(UndoStore.recordName)
            try withCName(temporary) { (from) throws(Errno) in
                try withCName(target) { (to) throws(Errno) in
                    try FileSystem.rename(at: FileSystem.currentDirectory, from, to: FileSystem.currentDirectory, to)
                }
            }
        } catch {
            throw failure(error)
        }
        removeLists(except: record.list)
    }

    /// Begins a new list of paths.
    func record() throws -> UndoRecorder {
        let name = UndoStore.prefix + PointID.random().hex + ".list"
        do throws(Errno) {
            let file = try FileDescriptor.open(path(name), [.writeOnly, .create, .exclusive], mode: 0o600)
            return UndoRecorder(name: name, file: file)
        } catch {
            throw failure(error)
        }
    }

    func discard(_ list: String) { removeFile(list) }

    /// The lines of a list, one after the other.
    func read(_ record: UndoRecord, _ body: (UndoRecorder.Line) throws -> Void) throws {
        let bytes: [UInt8]
        do throws(Errno) {
            bytes = try FileDescriptor.open(path(record.list), .readOnly).readAll(limit: 1 << 30)
        } catch {
            throw failure(error)
        }
        for part in bytes.split(separator: 0) {
            guard let line = UndoRecorder.Line(part) else { continue }
            try body(line)
        }
    }

    private func path(_ name: String) -> [UInt8] { directory + [UInt8(ascii: "/")] + name.utf8 }

    private func removeFile(_ name: String) {
        _ = try? withCName(path(name)) { (pointer) throws(Errno) in
            try FileSystem.remove(at: FileSystem.currentDirectory, pointer)
        }
    }

    private func removeLists(except kept: String) {
        guard let own = try? FileDescriptor.open(directory, [.readOnly, .directory, .followLink]) else { return }
        var reader = DirectoryReader()
        reader.start(own.raw)
        while let name = try? reader.next() {
            let text = String(decoding: name.bytes, as: UTF8.self)
            if text.hasPrefix(UndoStore.prefix), text.hasSuffix(".list"), text != kept { removeFile(text) }
        }
    }

    private func failure(_ error: Errno) -> HoldfastError {
        let text = TreePath.display(directory)
        return HoldfastError(
            .io, "What the last restore in place did cannot be remembered or read in \(text): \(error).", cause: error)
    }
}

/// Writes down what a restore in place will make and change, before it begins.
final class UndoRecorder {
    /// One thing that will happen.
    enum Line {
        /// Something is made where nothing stood, with everything below it.
        case created([UInt8])
        /// Something is replaced or removed, with everything below it.
        case changed([UInt8])
        /// A directory as it was.
        case directory([UInt8], mode: UInt16, uid: UInt32, gid: UInt32, mtime: FileInstant)

        init?(_ bytes: ArraySlice<UInt8>) {
            guard let tag = bytes.first else { return nil }
            let rest = Array(bytes.dropFirst())
            switch tag {
            case UInt8(ascii: "+"): self = .created(rest)
            case UInt8(ascii: "*"): self = .changed(rest)
            case UInt8(ascii: "/"):
                let words = rest.split(separator: 0x20, maxSplits: 5, omittingEmptySubsequences: false)
                guard words.count == 6 else { return nil }
                let numbers = words[..<5].compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
                guard numbers.count == 5, let mode = UInt16(exactly: numbers[0]),
                    let uid = UInt32(exactly: numbers[1]), let gid = UInt32(exactly: numbers[2]),
                    let nanoseconds = UInt32(exactly: numbers[4])
                else { return nil }
                self = .directory(
                    Array(words[5]), mode: mode, uid: uid, gid: gid,
                    mtime: FileInstant(seconds: numbers[3], nanoseconds: nanoseconds))
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

    func directory(_ path: [UInt8], _ status: FileStatus) throws(Errno) {
        let facts =
            "\(status.mode) \(status.uid) \(status.gid) \(status.modified.seconds) \(status.modified.nanoseconds) "
        try write(UInt8(ascii: "/"), Array(facts.utf8) + path)
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
