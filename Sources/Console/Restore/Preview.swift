/// Pictures that browsers decode, by their first bytes.
enum Picture {
    /// The media type; `nil` for anything else.
    static func type(of head: [UInt8]) -> String? {
        if head.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) { return "image/png" }
        if head.starts(with: [0xFF, 0xD8, 0xFF]) { return "image/jpeg" }
        if head.starts(with: "GIF87a".utf8) || head.starts(with: "GIF89a".utf8) { return "image/gif" }
        if head.starts(with: "RIFF".utf8), head.dropFirst(8).starts(with: "WEBP".utf8) { return "image/webp" }
        return nil
    }
}

/// Whether something is text that can be shown.
enum TextPreview {
    /// `nil` for what is no UTF-8 or has control characters. Of what is not whole, the last character may be cut.
    static func text(_ bytes: [UInt8], isWhole: Bool) -> String? {
        var bytes = bytes
        if !isWhole {
            // Up to three bytes of a character that was cut.
            for _ in 0..<3 where String(validating: bytes, as: UTF8.self) == nil && !bytes.isEmpty {
                bytes.removeLast()
            }
        }
        let isPlain = bytes.allSatisfy { $0 >= 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D || $0 == 0x0C }
        return isPlain ? String(validating: bytes, as: UTF8.self) : nil
    }
}

/// What changed from one text to another, line by line.
enum TextDifference {
    private enum Line {
        case same(Substring)
        case removed(Substring)
        case added(Substring)
    }

    /// Equal lines that are shown around a change.
    private static let context = 3
    /// So many lines are compared one by one; beyond that only what stands between the equal beginning and end is shown.
    private static let most = 4_000

    static func show(_ old: String, _ new: String) -> HTML {
        let lines = compare(
            old.split(separator: "\n", omittingEmptySubsequences: false),
            new.split(separator: "\n", omittingEmptySubsequences: false))
        var shown: [HTML] = []
        var skipped = 0
        func isChange(_ index: Int) -> Bool {
            guard lines.indices.contains(index) else { return false }
            if case .same = lines[index] { return false }
            return true
        }
        for (index, line) in lines.enumerated() {
            switch line {
            case .same(let text):
                guard (index - context...index + context).contains(where: isChange) else {
                    skipped += 1
                    continue
                }
                if skipped > 0 { shown.append("<span class=\"skip-lines\">\(skipped) equal lines</span>") }
                skipped = 0
                shown.append("<span>  \(String(text))</span>")
            case .removed(let text):
                if skipped > 0 { shown.append("<span class=\"skip-lines\">\(skipped) equal lines</span>") }
                skipped = 0
                shown.append("<del>- \(String(text))</del>")
            case .added(let text):
                if skipped > 0 { shown.append("<span class=\"skip-lines\">\(skipped) equal lines</span>") }
                skipped = 0
                shown.append("<ins>+ \(String(text))</ins>")
            }
        }
        if shown.isEmpty { return "<p>The text is the same.</p>" }
        return "<pre class=\"difference\" tabindex=\"0\">\(HTML.joined(shown, by: "\n"))</pre>"
    }

    private static func compare(_ old: [Substring], _ new: [Substring]) -> [Line] {
        var start = 0
        while start < old.count, start < new.count, old[start] == new[start] { start += 1 }
        var end = 0
        while end < old.count - start, end < new.count - start, old[old.count - 1 - end] == new[new.count - 1 - end] {
            end += 1
        }
        let (oldMiddle, newMiddle) = (old[start..<(old.count - end)], new[start..<(new.count - end)])
        var lines = old[..<start].map { Line.same($0) }
        if oldMiddle.count + newMiddle.count > most {
            lines += oldMiddle.map { .removed($0) } + newMiddle.map { .added($0) }
        } else {
            lines += middle(Array(oldMiddle), Array(newMiddle))
        }
        return lines + old[(old.count - end)...].map { .same($0) }
    }

    /// The standard library's difference (Myers), put in the order of reading.
    private static func middle(_ old: [Substring], _ new: [Substring]) -> [Line] {
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
                lines.append(.removed(old[a]))
                a += 1
            } else if b < new.count, added.contains(b) {
                lines.append(.added(new[b]))
                b += 1
            } else if a < old.count {
                lines.append(.same(old[a]))
                a += 1
                b += 1
            } else {
                b += 1
            }
        }
        return lines
    }
}
