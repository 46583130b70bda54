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
    /// When it came to its end; `nil` when it did not.
    package var ended: Timestamp?
    /// The start of the system that it ran under: what an interrupted one wrote before the power failed may not be on the
    /// disk.
    var boot: String
    /// The file with the paths, beside this record.
    var list: String
    /// Stands for the paths that were asked for: an interrupted restore that is run again is known by it.
    var asked = ""
    /// Runs of the same restore before this one that were interrupted, newest first: they are taken back with it.
    package var earlier: [Step] = []
    /// What this run takes back, newest first; empty when it is no `--undo`, or when it came to its end. As long as it has
    /// not, the next `--undo` goes on with these.
    var taking: [Step] = []

    /// A run of a restore: where it wrote down what it would do, and the point that was made before.
    package struct Step: Hashable, Sendable {
        var list: String
        var before: PointID?

        var json: JSONValue {
            .object(["before": before.map { .string($0.hex) } ?? .null, "list": .string(list)])
        }

        init(list: String, before: PointID?) {
            self.list = list
            self.before = before
        }

        init?(_ json: JSONValue) {
            guard case .object(let fields) = json, case .string(let list)? = fields["list"], Step.isName(list) else {
                return nil
            }
            self.list = list
            if case .string(let text)? = fields["before"] { before = PointID(hex: text) }
        }

        static func isName(_ list: String) -> Bool { list.hasPrefix(UndoStore.prefix) && !list.contains("/") }
    }

    /// This run and those before it that are taken back with it, newest first.
    var steps: [Step] { [Step(list: list, before: before)] + earlier }

    /// The files that are still needed.
    var lists: Set<String> { Set((steps + taking).map(\.list)) }

    /// Stands for this restore, on this machine.
    package var identifier: String { list }

    /// Whether it is a restore, or goes on with taking it back.
    package func isAbout(_ identifier: String) -> Bool { lists.contains(identifier) }

    /// It was to take something back, and did not come to its end.
    package var isUnfinishedUndo: Bool { !isComplete && !taking.isEmpty }

    func encoded() -> [UInt8] {
        JSONValue.object([
            "asked": .string(asked),
            "before": before.map { .string($0.hex) } ?? .null,
            "boot": .string(boot),
            "complete": .bool(isComplete),
            "earlier": .array(earlier.map(\.json)),
            "ended": ended.map { .integer($0.nanoseconds) } ?? .null,
            "list": .string(list),
            "restored": .string(restored.hex),
            "root": .string(Hex.encode(root)),
            "taking": .array(taking.map(\.json)),
            "time": .integer(time.nanoseconds),
            "vault": .string(vault.hex),
            "version": .integer(1),
        ]).encoded()
    }

    init(
        vault: VaultID, restored: PointID, before: PointID?, root: [UInt8], time: Timestamp, list: String
    ) {
        self.vault = vault
        self.restored = restored
        self.before = before
        self.root = root
        self.time = time
        isComplete = false
        boot = RestorePlace.currentBoot
        self.list = list
    }

    init(decoding bytes: [UInt8]) throws {
        guard case .object(let fields) = try JSONValue(parsing: bytes), case .integer(1)? = fields["version"],
            case .string(let vaultText)? = fields["vault"], let vault = VaultID(hex: vaultText),
            case .string(let restoredText)? = fields["restored"], let restored = PointID(hex: restoredText),
            case .string(let rootText)? = fields["root"], let root = Hex.decode(rootText),
            case .integer(let time)? = fields["time"], case .bool(let isComplete)? = fields["complete"],
            case .string(let list)? = fields["list"], Step.isName(list)
        else {
            throw HoldfastError(
                .damaged, "The record of the last restore in place cannot be read; it cannot be undone.")
        }
        var before: PointID?
        if case .string(let text)? = fields["before"] { before = PointID(hex: text) }
        self.init(
            vault: vault, restored: restored, before: before, root: root, time: Timestamp(nanoseconds: time),
            list: list)
        self.isComplete = isComplete
        if case .integer(let ended)? = fields["ended"] { self.ended = Timestamp(nanoseconds: ended) }
        boot = ""
        if case .string(let text)? = fields["boot"] { boot = text }
        if case .string(let text)? = fields["asked"] { asked = text }
        if case .array(let items)? = fields["earlier"] { earlier = items.compactMap { Step($0) } }
        if case .array(let items)? = fields["taking"] { taking = items.compactMap { Step($0) } }
    }

    /// A short text for a list of paths, in whatever order; other paths have another one.
    static func text(for paths: [TreePath]) -> String {
        let keys = PathSelection(paths).paths.map { $0.bytes + [0] }.joined()
        let hash = Array(keys).withUnsafeBytes { XXH3.hash128($0, seed: 0) }
        return Hex.encode(
            [hash.high, hash.low].flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } })
    }

    /// It came to its end, and all of it is on the disk.
    mutating func complete() {
        isComplete = true
        taking = []
        ended = Timestamp(nanoseconds: SystemClock.wall)
    }
}

/// Where the machine remembers its last restore in place: a record in its state directory, and beside it a list of paths for
/// each run of it.
package struct UndoStore: Sendable {
    static let prefix = "last-restore-"
    private static let recordName = "last-restore.json"
    private static let lockName = "last-restore.lock"

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

    /// Keeps other restores in place of this machine away, from the plan to the end: each takes back what it replaced, so
    /// none may happen in the middle of another. Ends with the value, and with the process however that dies.
    ///
    /// - Throws: `busy` when one is running.
    func lock() throws -> UndoLock {
        let lock: FileLock?
        do throws(Errno) {
            lock = try withCName(path(UndoStore.lockName)) { (name) throws(Errno) in
                try FileLock.acquire(at: FileSystem.currentDirectory, name)
            }
        } catch { throw failure(error) }
        if let lock { return UndoLock(lock) }
        throw HoldfastError(
            .busy, "Another restore in place is running on this machine. Nothing was changed.",
            context: ["hint": "Wait for it to end, or find it with `pgrep -af 'holdfast restore'`."], isTemporary: true)
    }

    /// Whether a restore in place was killed after the last one that changed something, before it changed anything.
    /// To be asked while the lock is held.
    package func hasAbandoned(besides record: UndoRecord) -> Bool {
        let known = record.lists
        return lists().contains { !known.contains($0) }
    }

    /// Replaces the record in one step. It and its list are on the disk before anything is changed.
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
            try FileDescriptor.open(directory, [.readOnly, .directory, .followLink]).sync()
        } catch {
            throw failure(error)
        }
        // The lock is held: lists of others are those of restores that were killed, or of the one before.
        let known = record.lists
        for list in lists() where !known.contains(list) { removeFile(list) }
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
    func read(_ list: String, _ body: (UndoRecorder.Line) throws -> Void) throws {
        let bytes: [UInt8]
        do throws(Errno) {
            bytes = try FileDescriptor.open(path(list), .readOnly).readAll(limit: 1 << 30)
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

    private func lists() -> [String] {
        guard let own = try? FileDescriptor.open(directory, [.readOnly, .directory, .followLink]) else { return [] }
        var found: [String] = []
        var reader = DirectoryReader()
        reader.start(own.raw)
        while let name = try? reader.next() {
            let text = String(decoding: name.bytes, as: UTF8.self)
            if text.hasPrefix(UndoStore.prefix), text.hasSuffix(".list") { found.append(text) }
        }
        return found
    }

    private func failure(_ error: Errno) -> HoldfastError {
        let text = TreePath.display(directory)
        return HoldfastError(
            .io, "What the last restore in place did cannot be remembered or read in \(text): \(error).", cause: error)
    }
}

/// Held while a restore in place runs.
final class UndoLock {
    private var lock: FileLock?
    init(_ lock: consuming FileLock) { self.lock = consume lock }
    func release() { lock = nil }
}
