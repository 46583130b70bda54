package import Model
import Platform
import Synchronization
package import Vault

/// The names of everything that a machine ever had and that a point still has, in memory: never written to a disk, where
/// nothing but the vault may know them.
///
/// It is read from the vault when somebody searches, and brought up to date by the points that have come since.
package final class NameIndex: Sendable {
    private struct State: @unchecked Sendable {
        // Sound: only used while the lock is held.
        var collector = PathCollector()
        /// Names in lower case, each with a zero byte behind it.
        var names: [UInt8] = []
        /// Where each begins, and where its path does.
        var starts: [Int] = []
        var pathStarts: [Int] = []
        var paths: [UInt8] = []
        var known: Set<UInt64> = []
        /// Names of points that are gone stay in it; with too many such points all is read anew.
        var points: Set<PointID> = []
        /// When it was begun, and when what could not be read is tried again.
        var begun: Int64?
        var retry: Int64?
    }

    /// More names are left out, and that is said.
    private static let most = 8_000_000
    /// After so long what could not be read is tried again, in nanoseconds: a search must not wait for what is damaged.
    private static let retryAge: Int64 = 600_000_000_000
    /// The same, for what may be there in a moment.
    private static let shortRetryAge: Int64 = 10_000_000_000
    /// What could not be read may be of a point that is gone. Nobody knows, so all is read anew, but not more often than this.
    private static let partialAge: Int64 = 3_600_000_000_000

    private let state = Mutex(State())

    /// What was found.
    package struct Found: Sendable {
        package var paths: [TreePath] = []
        package var isMore = false
        /// Not every name was looked at: some points could not be read, or there are too many names.
        package var isPartial = false
    }

    /// Looks for names that contain all words, in lower and upper case alike.
    ///
    /// - Parameter now: counts nanoseconds.
    package func search(
        _ words: [String], below: TreePath, limit: Int, points: [PointSummary], records: PointRecords,
        now: Int64 = SystemClock.monotonic
    ) -> Found {
        state.withLock { state in
            let isPartial = refresh(&state, points, records, now)
            var found = Self.look(state, words.map { Array($0.lowercased().utf8) }, below, limit)
            found.isPartial = isPartial
            return found
        }
    }

    /// Reads what a search would have to read first.
    package func prepare(points: [PointSummary], records: PointRecords) {
        _ = state.withLock { refresh(&$0, points, records, SystemClock.monotonic) }
    }

    /// Whether something is missing.
    private func refresh(
        _ state: inout State, _ points: [PointSummary], _ records: PointRecords, _ now: Int64
    ) -> Bool {
        let ids = Set(points.map(\.id))
        let gone = state.points.subtracting(ids).count
        let isOld = state.begun.map { now - $0 >= Self.partialAge } ?? false
        if gone > max(ids.count, 100) || gone > 0 && isOld && state.collector.isPartial { state = State() }
        if state.begun == nil { state.begun = now }
        let collector = state.collector
        func take(_ key: [UInt8]) {
            guard state.starts.count < Self.most, let path = TreePath(key: key), !path.isRoot else { return }
            Self.add(path, to: &state)
        }
        collector.keep(ids)
        if let retry = state.retry, now >= retry {
            state.retry = nil
            collector.retry(from: records, take)
        }
        let new = points.filter { !collector.knows($0.id) }
        records.openAhead(new)
        // The newest first: whatever comes after it is mostly known then.
        for point in new.reversed() {
            collector.collect(point, from: records, take)
            state.points.insert(point.id)
        }
        if !collector.isPartial {
            state.retry = nil
        } else if state.retry == nil {
            state.retry = now + (collector.mayPass ? Self.shortRetryAge : Self.retryAge)
        }
        return collector.isPartial || state.starts.count >= Self.most
    }

    private static func add(_ path: TreePath, to state: inout State) {
        // 64 bits of a keyed hash: that two of some millions are alike is less likely than a broken disk.
        var hasher = Hasher()
        hasher.combine(path)
        guard state.known.insert(UInt64(bitPattern: Int64(hasher.finalize()))).inserted else { return }
        state.starts.append(state.names.count)
        state.pathStarts.append(state.paths.count)
        let name = path.name
        if name.allSatisfy({ $0 < 0x80 }) {
            for byte in name { state.names.append((0x41...0x5A).contains(byte) ? byte | 0x20 : byte) }
        } else {
            state.names += Array(String(decoding: name, as: UTF8.self).lowercased().utf8)
        }
        state.names.append(0)
        state.paths += path.bytes
        state.paths.append(0)
    }

    private static func look(_ state: State, _ words: [[UInt8]], _ below: TreePath, _ limit: Int) -> Found {
        var found = Found()
        guard let first = words.max(by: { $0.count < $1.count }), !first.isEmpty else { return found }
        state.names.withUnsafeBytes { names in
            var from = 0
            var next = 0
            while let place = ByteSearch.find(first, in: names, from: from) {
                next = Self.entry(at: place, state.starts, from: next)
                let start = state.starts[next]
                let end = next + 1 < state.starts.count ? state.starts[next + 1] - 1 : names.count - 1
                from = end + 1
                let name = UnsafeRawBufferPointer(rebasing: names[start..<end])
                guard words.allSatisfy({ ByteSearch.find($0, in: name, from: 0) != nil }) else { continue }
                let pathStart = state.pathStarts[next]
                let pathEnd = next + 1 < state.pathStarts.count ? state.pathStarts[next + 1] - 1 : state.paths.count - 1
                let path = TreePath(unchecked: Array(state.paths[pathStart..<pathEnd]))
                guard below.contains(path), path != below else { continue }
                if found.paths.count == limit {
                    found.isMore = true
                    return
                }
                found.paths.append(path)
            }
        }
        return found
    }

    /// The entry in which a byte of the names lies; not before `from`.
    private static func entry(at place: Int, _ starts: [Int], from: Int) -> Int {
        var (low, high) = (from, starts.count - 1)
        while low < high {
            let middle = (low + high + 1) / 2
            if starts[middle] <= place { low = middle } else { high = middle - 1 }
        }
        return low
    }
}
