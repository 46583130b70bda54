import Capture
import Model
import Platform
import Vault

/// What waits to be captured, in portions that fit into the spool, and what is done when one of them finds no room there.
///
/// What does not fit even alone is set aside: it keeps nothing else waiting, and takes no other version's room. It is taken up
/// again when what waits has been sent, or goes to the vault past the spool.
final class CaptureQueue {
    /// A path that was set aside.
    private struct Refusal {
        /// Bytes that it took on the disk then.
        var size: UInt64
        /// Bytes that it could have had in the spool.
        var room: UInt64
        /// It was found below a directory that fits into no spool: it takes no other version's room.
        var isPart: Bool
    }

    /// What is captured next.
    private(set) var pending = PendingChanges()
    /// What did not fit into the spool alone.
    private(set) var unfit = PendingChanges()
    private var refusals: [TreePath: Refusal] = [:]
    /// Below directories that do not fit as a whole: they come last, and into free room only.
    private var parts: Set<TreePath> = []
    /// Paths that are captured at once: fewer when they do not fit into the spool together.
    private var portion = Int.max
    /// How often room was made for the one that is tried now.
    private var roomsMade = 0
    private let spool: Spool
    private let source: CaptureSource

    private static let mostRoomsMade = 2
    /// With more paths set aside, directories that do not fit are not looked at in parts any more.
    private static let refusalLimit = 10_000

    init(_ spool: Spool, _ source: CaptureSource) {
        self.spool = spool
        self.source = source
    }

    var isEmpty: Bool { pending.isEmpty && unfit.isEmpty }
    var count: Int { pending.count + unfit.count }
    /// When the oldest change came that waits; `nil` when none does.
    var oldest: Int64? { [pending.oldest, unfit.oldest].compactMap { $0 }.min() }

    // MARK: In and out

    /// Takes what has settled.
    func add(_ changes: [Settling.Change], since: Int64?) { pending.add(changes, since: since) }

    /// Takes further paths to look at.
    func add(_ paths: some Sequence<TreePath>) { pending.add(paths) }

    /// Everything was looked at, and is stored; what came meanwhile is all that waits.
    func restart(with others: PendingChanges) {
        pending = others
        unfit = PendingChanges()
        refusals = [:]
        begin()
    }

    private func begin() {
        parts = []
        portion = .max
        roomsMade = 0
    }

    /// What is to be captured now, and what comes after it.
    func next() -> (part: PendingChanges, rest: PendingChanges) {
        keepAside()
        return pending.split(portion, last: parts)
    }

    /// The part that `next` gave is in the spool.
    func wasCaptured(leaving rest: PendingChanges) {
        pending = rest
        roomsMade = 0
        if rest.isEmpty { return begin() }
        // What did not fit may have been one path among them.
        if portion < .max / 2 { portion *= 2 }
    }

    /// What has been set aside and changes again stays so, unless it is shorter now.
    private func keepAside() {
        if refusals.isEmpty || pending.isEmpty { return }
        for path in refusals.keys.filter({ pending.shallow.contains($0) || pending.deep.contains($0) }) {
            guard let refusal = refusals[path] else { continue }
            if unfit.deep.contains(path) || CaptureQueue.size(of: path) >= refusal.size {
                unfit.take(path, from: &pending)
            } else {
                takeUp(path)
            }
        }
    }

    private func takeUp(_ path: TreePath) {
        if refusals.removeValue(forKey: path)?.isPart == true { parts.insert(path) }
        pending.take(path, from: &unfit)
    }

    // MARK: Room

    /// There was no room in the spool for a part. Whatever is done, something else is tried next: fewer paths, a directory in
    /// its parts, the same with more room, or what comes after it.
    func refused(_ part: PendingChanges, _ memory: EntryMemory, now: Timestamp) {
        // What the attempt has left is no room that others lack.
        try? spool.discardUnused()
        let paths = part.paths
        // Fewer at once: for that no version has to go.
        if paths.count > 1 {
            portion = max(min(portion, paths.count) / 2, 1)
            return
        }
        guard let path = paths.first else { return }
        let survey = part.deep.contains(path) ? ChangeSurvey(of: path, beside: memory, source) : nil
        let size = survey.map { $0.isPartial ? .max : $0.bytes } ?? CaptureQueue.size(of: path)
        if !parts.contains(path), roomsMade < CaptureQueue.mostRoomsMade, (try? makeRoom(for: size, now)) == true {
            roomsMade += 1
            return
        }
        if let survey, divide(path, survey) { return }
        setAside(path, size: survey == nil ? size : .max)
    }

    /// Makes room where that helps: what never fits takes no other version's.
    private func makeRoom(for size: UInt64, _ now: Timestamp) throws -> Bool {
        guard try spool.couldHold(size) else { return false }
        if roomsMade > 0 { return try spool.makeRoom(for: size, now: now) }
        // Often less of a file is new than it is long.
        let (used, most) = (spool.used, try spool.most())
        let free = most > used ? most - used : 0
        return try spool.makeRoom(for: min(size, free + max(used / 8, 1 << 20)), now: now)
    }

    private func setAside(_ path: TreePath, size: UInt64) {
        let isPart = parts.contains(path)
        let room = isPart ? roomForParts : (try? spool.roomBesideWaiting()) ?? 0
        unfit.take(path, from: &pending)
        refusals[path] = Refusal(size: size, room: room, isPart: isPart)
        roomsMade = 0
        if pending.isEmpty { begin() }
    }

    /// What is below a directory that does not fit comes into free room only, the smallest first, and leaves some of it to what is
    /// saved meanwhile.
    private var roomForParts: UInt64 {
        guard let most = try? spool.most() else { return 0 }
        let taken = spool.used + most / 4
        return most > taken ? most - taken : 0
    }

    /// Has a directory looked at in its parts. `false` where there are too many.
    private func divide(_ directory: TreePath, _ survey: ChangeSurvey) -> Bool {
        guard !survey.isPartial, refusals.count + survey.found.count <= CaptureQueue.refusalLimit else { return false }
        let (since, room) = (pending.oldest, roomForParts)
        var left = room
        for found in survey.found.sorted(by: { $0.bytes < $1.bytes }) {
            // Transactions go into the log, and a database is captured with it.
            let paths = [found.path, found.path.ofDatabaseLog].compactMap { $0 }
            if found.bytes <= left {
                left -= found.bytes
                pending.add(paths, since: since)
                parts.formUnion(paths)
            } else {
                unfit.add([found.path], since: since)
                refusals[found.path] = Refusal(size: found.bytes, room: room, isPart: true)
            }
        }
        pending.remove(deep: directory)
        roomsMade = 0
        portion = .max
        return true
    }

    /// Takes up what fits by now: it is shorter, or what waited has been sent.
    func reconsider() {
        guard !unfit.isEmpty, let room = try? spool.roomBesideWaiting() else { return }
        let free = roomForParts
        var left = free
        let sizes = refusals.keys.filter { !unfit.deep.contains($0) }.map {
            (path: $0, size: CaptureQueue.size(of: $0))
        }
        for (path, size) in sizes.sorted(by: { $0.size < $1.size }) {
            guard let refusal = refusals[path] else { continue }
            let now = refusal.isPart ? free : room
            guard size <= (refusal.isPart ? left : room), size < refusal.size || now > refusal.room else { continue }
            if refusal.isPart { left -= size }
            takeUp(path)
        }
    }

    /// Those of what was set aside that fit into no spool, whatever else is in it.
    var neverFitting: [TreePath] {
        guard let most = try? spool.most() else { return [] }
        return unfit.shallow.filter { CaptureQueue.size(of: $0) > most }
    }

    /// Bytes that a file takes on the disk now, and a database with its log; 0 for what is none.
    static func size(of path: TreePath) -> UInt64 {
        func own(_ path: TreePath) -> UInt64? {
            guard let status = try? FileSystem.status([UInt8(ascii: "/")] + path.bytes), status.kind == .regular else {
                return nil
            }
            return status.usedBytes
        }
        guard let size = own(path) else { return 0 }
        return path.databaseLogs.reduce(size) { $0 + (own($1) ?? 0) }
    }
}
