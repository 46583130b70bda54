import Catalog
import Client
import Model
import Server
import Vault

/// Who did what, when, from where.
enum AuditPage {
    static let all: [Page] = [
        .get("/audit", "Who did what, when, from where.", .right(.seeAudit), show),
        .get("/audit.csv", "The audit log as a table.", .right(.seeAudit)) { try $0.desk.exportAudit() },
    ]

    /// Lines that are looked through at once; older ones are a step away.
    private static let window = 5_000

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let before = visit.query.number("before", in: 1...Int.max).map { Int64($0) } ?? .max
        let lines = try visit.core.catalog.auditLines(before: before, limit: window)
        let now = visit.now
        var table = Table<AuditLine>(
            path: "/audit", noun: ("line", "lines"),
            columns: [
                .init(
                    "action", "What", by: \.action, plain: \.action, cell: { "\($0.action)<small>\($0.object)</small>" }
                ),
                .init("who", "Who", by: \.who, plain: \.who, cell: { "\($0.who)<small>\($0.address)</small>" }),
                .init(
                    "how", "How", by: { $0.succeeded ? 1 : 0 }, plain: { $0.succeeded ? "done" : "failed" },
                    cell: { $0.succeeded ? Piece.state("good", "done") : Piece.state("bad", "failed") }),
                .init(
                    "time", "When", startsLargest: true, by: \.number, plain: { TimeText.rfc3339($0.time) },
                    cell: { Piece.time($0.time, now: now) }),
                .init("detail", "More", plain: { String(decoding: $0.detail, as: UTF8.self) }, cell: detail),
                .init("number", "Line", isNumber: true, startsLargest: true, by: \.number, plain: { "\($0.number)" }),
            ], usualOrder: "-time")
        table.search = (
            "Who, or to what",
            {
                $0.who.lowercased().contains($1) || $0.object.lowercased().contains($1) || $0.address.contains($1)
            }
        )
        let actions = Set(lines.map(\.action)).sorted().prefix(200)
        table.filters = [
            Table.Filter(name: "action", title: "What", choices: actions.map { ($0, $0) }) { $0.action == $1 },
            Table.Filter(name: "how", title: "How", choices: [("done", "Done"), ("failed", "Refused or failed")]) {
                ($0.succeeded ? "done" : "failed") == $1
            },
        ]
        if before != .max { table.kept = [("before", "\(before)")] }
        let more: HTML? =
            lines.count == window
            ? lines.last.map {
                "<p><a href=\"/audit?before=\($0.number)\">What is older than line \($0.number)</a></p>"
            } : nil
        return Layout.page(
            "Audit log", visit, wide: true,
            """
            <p class="hint">Each line carries a hash over itself and the one before; <code>holdfast audit verify</code> on the server checks \
            them all. The export has every line, with the hashes.</p>\(table.show(lines, visit))\(more)
            """)
    }

    private static func detail(_ line: AuditLine) -> HTML {
        let text = String(decoding: line.detail, as: UTF8.self)
        return text == "{}" ? .nothing : "<code class=\"detail\">\(String(text.prefix(300)))</code>"
    }
}
