/// What changed from one text to another, line by line.
package enum TextDifference {
    package enum Line: Hashable, Sendable {
        case same(String)
        case removed(String)
        case added(String)
        /// So many equal lines that are far from any change.
        case skipped(Int)
    }

    /// Equal lines that are shown around a change.
    private static let context = 3
    /// So many lines are compared one by one; beyond that only what stands between the equal beginning and end is shown.
    private static let most = 4_000

    /// The changes with some equal lines around them; empty for equal texts.
    package static func lines(_ old: String, _ new: String) -> [Line] {
        let lines = compare(split(old), split(new))
        var shown: [Line] = []
        var skipped = 0
        func isChange(_ index: Int) -> Bool {
            guard lines.indices.contains(index) else { return false }
            if case .same = lines[index] { return false }
            return true
        }
        for (index, line) in lines.enumerated() {
            if case .same = line, !(index - context...index + context).contains(where: isChange) {
                skipped += 1
                continue
            }
            if skipped > 0 { shown.append(.skipped(skipped)) }
            skipped = 0
            shown.append(line)
        }
        return shown
    }

    /// A line by its bytes: what strings take for equal may be written differently, and a file has changed then.
    private struct Bytes: Hashable {
        let bytes: ArraySlice<UInt8>
        var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// The lines without what ends them; of "\r\n" the first stays.
    private static func split(_ text: String) -> [Bytes] {
        Array(text.utf8).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { Bytes(bytes: $0) }
    }

    private static func compare(_ old: [Bytes], _ new: [Bytes]) -> [Line] {
        var start = 0
        while start < old.count, start < new.count, old[start] == new[start] { start += 1 }
        var end = 0
        while end < old.count - start, end < new.count - start, old[old.count - 1 - end] == new[new.count - 1 - end] {
            end += 1
        }
        let (oldMiddle, newMiddle) = (old[start..<(old.count - end)], new[start..<(new.count - end)])
        var lines = old[..<start].map { Line.same($0.text) }
        if oldMiddle.count + newMiddle.count > most {
            lines += oldMiddle.map { .removed($0.text) } + newMiddle.map { .added($0.text) }
        } else {
            lines += middle(Array(oldMiddle), Array(newMiddle))
        }
        return lines + old[(old.count - end)...].map { .same($0.text) }
    }

    /// The standard library's difference (Myers), put in the order of reading.
    private static func middle(_ old: [Bytes], _ new: [Bytes]) -> [Line] {
        let difference = new.difference(from: old)
        var removed: Set<Int> = []
        var added: Set<Int> = []
        for change in difference {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, _, _): added.insert(offset)
            }
        }
        var lines: [Line] = []
        var (a, b) = (0, 0)
        while a < old.count || b < new.count {
            if a < old.count, removed.contains(a) {
                lines.append(.removed(old[a].text))
                a += 1
            } else if b < new.count, added.contains(b) {
                lines.append(.added(new[b].text))
                b += 1
            } else if a < old.count {
                lines.append(.same(old[a].text))
                a += 1
                b += 1
            } else {
                b += 1
            }
        }
        return lines
    }
}
