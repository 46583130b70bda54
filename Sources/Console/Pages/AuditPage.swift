import Catalog
import Client
import Model
import Server
import Vault

/// Who did what, when, from where.
enum AuditPage {
    static let all: [Page] = [
        .get("/audit", "Who did what, when, from where.", .right(.seeAudit), show),
        .get("/audit.csv", "The audit log as a table.", .right(.seeAudit), export),
    ]

    private static let pageLength = 100

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let before = visit.query.number("before", in: 1...Int.max).map { Int64($0) } ?? .max
        let lines = try visit.core.catalog.auditLines(before: before, limit: pageLength)
        let rows: [HTML] = lines.map { line in
            """
            <tr><td class="number">\(line.number)</td><td>\(Piece.time(line.time, now: visit.now))</td><th scope="row">\(line.who)\
            <small>\(line.address)</small></th><td>\(line.succeeded ? Piece.state("good", "done") : Piece.state("bad", "refused"))</td>
            <td>\(line.action)<small>\(line.object)</small></td></tr>
            """
        }
        let more: HTML? =
            lines.count == pageLength
            ? lines.last.map { "<nav class=\"pager\"><a href=\"/audit?before=\($0.number)\">Older</a></nav>" } : nil
        return Layout.page(
            "Audit log", visit, wide: true,
            """
            <p class="hint">Each line carries a hash over itself and the one before; <code>holdfast audit verify</code> on the server checks \
            them all. <a href="/audit.csv" download>Export as CSV</a></p>
            <table><thead><tr><th class="number">Line</th><th>When</th><th>Who</th><th>How</th><th>What</th></tr></thead>
            <tbody>\(rows)</tbody></table>\(more)
            """)
    }

    @Sendable private static func export(_ visit: Visit) throws -> ServerAnswer {
        try visit.note("audit.exported")
        let catalog = visit.core.catalog
        var answer = ServerAnswer(contentType: "text/csv; charset=utf-8")
        answer.headers = [("Content-Disposition", DownloadPages.disposition(Array("holdfast-audit.csv".utf8)))]
        answer.stream = ServerAnswer.Stream(length: nil) { write in
            func line(_ fields: [String]) throws {
                let text = fields.map(CSV.field).joined(separator: ",") + "\r\n"
                try Array(text.utf8).withUnsafeBytes { try write($0) }
            }
            try line(["number", "time", "who", "address", "action", "object", "succeeded", "detail", "hash"])
            var next: Int64 = 1
            while true {
                let lines = try catalog.auditLines(from: next, limit: 1_000)
                guard let last = lines.last else { return }
                for each in lines {
                    try line([
                        "\(each.number)", TimeText.rfc3339(each.time), each.who, each.address, each.action, each.object,
                        each.succeeded ? "yes" : "no", String(decoding: each.detail, as: UTF8.self),
                        Hex.encode(each.hash.array),
                    ])
                }
                next = last.number + 1
            }
        }
        return answer
    }
}

/// Tables for other programs, as RFC 4180 says.
enum CSV {
    /// A field in quotes. What a spreadsheet would take for a formula gets an apostrophe in front, which it hides.
    static func field(_ text: String) -> String {
        let isFormula = text.first.map { "=+-@\t\r".contains($0) } ?? false
        return "\"" + (isFormula ? "'" : "") + text.replacing("\"", with: "\"\"") + "\""
    }
}
