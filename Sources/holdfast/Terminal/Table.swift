/// Columns of text for people. Widths follow the contents; the last column is never padded or cut.
struct Table {
    enum Alignment { case left, right }

    private let titles: [String]
    private let alignments: [Alignment]
    private var rows: [[String]] = []

    /// Columns with their titles; no titles when all are empty.
    init(_ columns: (String, Alignment)...) {
        titles = columns.map(\.0)
        alignments = columns.map(\.1)
    }

    var isEmpty: Bool { rows.isEmpty }

    /// Adds a row with one text for each column; missing ones are empty.
    mutating func add(_ cells: String...) {
        rows.append((0..<titles.count).map { $0 < cells.count ? cells[$0] : "" })
    }

    /// The lines from top to bottom; `emphasise` is applied to the titles.
    func lines(emphasise: (String) -> String = { $0 }) -> [String] {
        let hasTitles = titles.contains { !$0.isEmpty }
        let all = (hasTitles ? [titles] : []) + rows
        let widths = titles.indices.map { column in all.map { Table.width($0[column]) }.max() ?? 0 }
        return all.enumerated().map { number, row in
            let line = layOut(row, widths)
            return hasTitles && number == 0 ? emphasise(line) : line
        }
    }

    private func layOut(_ row: [String], _ widths: [Int]) -> String {
        var line = ""
        for (column, cell) in row.enumerated() {
            let padding = String(repeating: " ", count: widths[column] - Table.width(cell))
            if column > 0 { line += "  " }
            line += alignments[column] == .right ? padding + cell : cell + padding
        }
        while line.last == " " { line.removeLast() }
        return line
    }

    /// How many columns of a terminal a text takes: two for wide East Asian characters, none for combining ones.
    static func width(_ text: String) -> Int {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.utf8.count }
        return text.reduce(0) { $0 + width($1) }
    }

    private static func width(_ character: Character) -> Int {
        guard let first = character.unicodeScalars.first else { return 0 }
        let wide: [ClosedRange<UInt32>] = [
            0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
            0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F900...0x1F9FF, 0x20000...0x3FFFD,
        ]
        return wide.contains { $0.contains(first.value) } ? 2 : 1
    }

    /// `text` cut to at most `width` columns; what is left out in the middle shows as `...`.
    static func shorten(_ text: String, to limit: Int) -> String {
        if width(text) <= limit { return text }
        guard limit > 6 else { return String(repeating: ".", count: max(0, min(limit, 3))) }
        var head = ""
        var tail = ""
        var headWidth = 0
        var tailWidth = 0
        let room = limit - 3
        for character in text {
            guard headWidth + width(character) <= room / 3 else { break }
            head.append(character)
            headWidth += width(character)
        }
        for character in text.reversed() {
            guard tailWidth + width(character) <= room - headWidth else { break }
            tail.append(character)
            tailWidth += width(character)
        }
        return head + "..." + String(tail.reversed())
    }
}
