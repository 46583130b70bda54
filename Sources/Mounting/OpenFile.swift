import Model
import Synchronization
import Vault

/// A regular file that a program has open.
final class OpenFile: Sendable {
    /// A part of what was asked for: bytes of a blob, or zeros.
    struct Piece {
        var blob: Blob?
        var start: Int
        var count: Int
    }

    private struct Located {
        var extent: Extent
        var position: UInt64
        var end: UInt64 { position + extent.length }
    }

    /// The extents that were looked at last, in the order of the file without a gap.
    private struct Window {
        var extents: [Located] = []
        var start: UInt64 = 0
        /// Up to here it is complete; the largest number when nothing follows.
        var end: UInt64 = 0
        /// How many are read next.
        var batch = 64
    }

    private struct Progress {
        /// Where the next read begins when the file is read from beginning to end.
        var next: UInt64 = 0
        /// Reads that went on where others ended.
        var run = 0
        /// Up to here reading ahead was asked for.
        var ahead: UInt64 = 0
        var room: UInt64 = 1 << 20
    }

    let point: OpenPoint
    let path: TreePath
    let entry: Entry
    private let ahead: ReadAhead
    /// Most bytes that are read ahead.
    private let aheadLimit: UInt64
    private let window = Mutex(Window())
    /// The same for reading ahead.
    private let aheadWindow = Mutex(Window())
    private let progress = Mutex(Progress())

    init(_ point: OpenPoint, _ path: TreePath, _ entry: Entry, ahead: ReadAhead, aheadLimit: UInt64) throws {
        self.point = point
        self.path = path
        self.entry = entry
        self.ahead = ahead
        self.aheadLimit = aheadLimit
        if case .extents(let list) = entry.content {
            // Few: they are all there from the beginning.
            var all = Window(end: .max)
            var position: UInt64 = 0
            for extent in list {
                all.extents.append(Located(extent: extent, position: position))
                position += extent.length
            }
            window.withLock { $0 = all }
            aheadWindow.withLock { $0 = all }
        }
    }

    var size: UInt64 { min(entry.size, UInt64(Int64.max)) }

    // MARK: Reading

    /// The bytes from `offset` on, at most `count` and not beyond the end.
    func read(from offset: UInt64, count: Int) throws -> [Piece] {
        let end = min(offset.addingReportingOverflow(UInt64(count)).partialValue, size)
        guard offset < end else { return [] }
        point.touch()
        let extents = try located(from: offset, to: end, window)
        look(ahead: offset, end)
        let blobs = try point.blobs(extents.compactMap(\.extent.key), type: .data)
        var pieces: [Piece] = []
        pieces.reserveCapacity(extents.count + 1)
        var position = offset
        for located in extents where located.end > position && located.position < end {
            let stop = min(located.end, end)
            let length = Int(stop - position)
            if let key = located.extent.key {
                let start = Int(located.extent.offset) + Int(position - located.position)
                guard let blob = blobs[key], start + length <= blob.bytes.count else { throw OpenPoint.lost }
                pieces.append(Piece(blob: blob, start: start, count: length))
            } else {
                pieces.append(Piece(blob: nil, start: 0, count: length))
            }
            position = stop
        }
        // A tree can say that a file is longer than its extents: the rest is a hole.
        if position < end { pieces.append(Piece(blob: nil, start: 0, count: Int(end - position))) }
        return pieces
    }

    /// The extents that overlap a range.
    private func located(from start: UInt64, to end: UInt64, _ window: borrowing Mutex<Window>) throws -> [Located] {
        try window.withLock { window in
            if entry.content == .none { return [] }
            var position = start
            var found: [Located] = []
            while position < end {
                if position < window.start || position >= window.end { try fill(&window, from: position) }
                let first = window.extents.partitioningIndex { $0.end > position }
                for located in window.extents[first...] {
                    if located.position >= end { break }
                    found.append(located)
                }
                position = max(window.end, position)
            }
            return found
        }
    }

    private func fill(_ window: inout Window, from start: UInt64) throws {
        let isNext = start == window.end && window.end > 0
        let batch = isNext ? min(window.batch * 2, 4_096) : 64
        // The kernel's requests may overtake each other.
        let kept = isNext ? Array(window.extents.suffix(512)) : []
        var fresh = Window(extents: kept, start: kept.first?.position ?? start, end: start, batch: batch)
        var isComplete = true
        try point.withTree { tree in
            try tree.extents(of: entry, from: start) { extent, position in
                if fresh.extents.count == kept.count + batch {
                    isComplete = false
                    return false
                }
                // The one that holds the byte, which may have been read as the last of those before.
                if position >= start || kept.isEmpty {
                    fresh.extents.append(Located(extent: extent, position: position))
                }
                return true
            }
        }
        fresh.end = isComplete ? .max : fresh.extents.last?.end ?? .max
        window = fresh
    }

    // MARK: Reading ahead

    /// So much is asked for in one go: neighbours in a pack are read together.
    private static let batch: UInt64 = 3 << 20

    /// When reads follow each other, asks for what comes after them. The kernel's come in any order, some at once.
    private func look(ahead start: UInt64, _ end: UInt64) {
        let wanted: Range<UInt64>? = progress.withLock { progress in
            let isNear = start <= progress.next + (4 << 20) && end + (4 << 20) >= progress.next
            if !isNear {
                progress = Progress(next: end)
                return nil
            }
            progress.run += 1
            progress.next = max(progress.next, end)
            // A file that is opened is mostly read from its beginning to its end.
            guard progress.run > 1 || start == 0 else { return nil }
            let from = max(progress.ahead, progress.next)
            let to = min(progress.next + progress.room, size)
            guard to > from, to - from >= min(Self.batch, progress.room / 2) || to == size else { return nil }
            progress.room = min(progress.room * 2, aheadLimit)
            progress.ahead = to
            return from..<to
        }
        guard let wanted, let extents = try? located(from: wanted.lowerBound, to: wanted.upperBound, aheadWindow)
        else { return }
        var keys: [ContentKey] = []
        var length: UInt64 = 0
        for located in extents {
            guard let key = located.extent.key else { continue }
            if keys.last != key { keys.append(key) }
            length += located.extent.length
            if length >= Self.batch {
                ahead.want(keys, of: point)
                keys = []
                length = 0
            }
        }
        if !keys.isEmpty { ahead.want(keys, of: point) }
    }

    // MARK: Holes

    /// The next hole, or the next data, at or after `offset`; `nil` when there is none.
    func seek(from offset: UInt64, holes: Bool) throws -> UInt64? {
        guard offset < size else { return nil }
        var position = offset
        while position < size {
            let step = min(position.addingReportingOverflow(64 << 20).partialValue, size)
            var at = position
            for located in try located(from: position, to: step, window) {
                // Between extents there is nothing; they lie one after the other.
                if (located.extent.key == nil) == holes { return max(located.position, position) }
                at = min(located.end, size)
            }
            if at < step { return holes ? at : nil }
            position = max(at, step)
        }
        // The end counts as a hole.
        return holes ? size : nil
    }
}

extension Array {
    /// The first index for whose element `isAfter` holds, when it holds for all that follow.
    func partitioningIndex(_ isAfter: (Element) -> Bool) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = low + (high - low) / 2
            if isAfter(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
