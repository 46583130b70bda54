import Catalog
import Client
import Model
import Server
import Vault

/// What a new server needs before anybody can rely on it. Each step ticks itself off by a fact.
enum FirstHour {
    private static let setting = "first-hour"

    /// What was found in the audit log, up to which line, and that nobody wants to see the list any more.
    private struct Memory: Equatable {
        var line: Int64 = 0
        var isBack = false
        var isMailed = false
        var isDismissed = false

        init() {}

        init(_ bytes: [UInt8]) throws {
            let fields = try JSONFields(parsing: bytes, document: "the first hour")
            line = try fields.integer("line", in: 0...Int64.max)
            isBack = try VaultMessages.flag(fields, "back")
            isMailed = try VaultMessages.flag(fields, "mailed")
            isDismissed = try VaultMessages.flag(fields, "dismissed")
        }

        var encoded: [UInt8] {
            JSONValue.object([
                "line": .integer(line), "back": .bool(isBack), "mailed": .bool(isMailed),
                "dismissed": .bool(isDismissed),
            ]).encoded()
        }
    }

    private static func load(_ catalog: any ServerCatalog) throws -> Memory {
        try catalog.setting(setting).flatMap { try? Memory($0) } ?? Memory()
    }

    static func dismiss(_ catalog: any ServerCatalog) throws {
        var memory = try load(catalog)
        memory.isDismissed = true
        try catalog.keep(setting, memory.encoded)
    }

    /// Files that came back, as the audit log calls them.
    private static let returns: Set<String> = ["file.downloaded", "files.downloaded", "restore.begun", "restore.done"]

    /// Takes up what has been written since the last look.
    private static func look(_ catalog: any ServerCatalog) throws -> Memory {
        var memory = try load(catalog)
        if memory.isDismissed || (memory.isBack && memory.isMailed) { return memory }
        let before = memory
        for _ in 0..<20 {
            let lines = try catalog.auditLines(from: memory.line + 1, limit: 500)
            for line in lines where line.succeeded {
                if returns.contains(line.action) { memory.isBack = true }
                if line.action == "mail.tested" { memory.isMailed = true }
            }
            memory.line = lines.last?.number ?? memory.line
            if lines.count < 500 { break }
        }
        if memory != before { try catalog.keep(setting, memory.encoded) }
        return memory
    }

    private struct Step {
        var title: String
        var isDone: Bool
        var how: HTML
    }

    /// The list; nothing for those who cannot do what it says, and when it was put away.
    static func show(_ visit: Visit, _ machines: [ManagedMachine]) throws -> HTML {
        guard visit.may(.manageSettings) else { return .nothing }
        let catalog = visit.core.catalog
        let memory = try look(catalog)
        if memory.isDismissed { return .nothing }
        let protected = machines.first { visit.core.overview(of: $0).report?.newest != nil }
        let files: HTML =
            protected.map {
                "<a href=\"/machines/\($0.id.hex)/files\">Look into \($0.name)</a>, choose a file, download it, and open it."
            }
            ?? "When a machine is protected: look into its files, choose one, download it, and open it."
        var steps = [
            Step(
                title: "A machine is protected", isDone: protected != nil,
                how: """
                    <a href="/enrolment">Make the line</a> that brings one in, paste it there, and give it a <a href="/policies">policy</a>. Its first point \
                    makes this a fact.
                    """),
            Step(title: "A file was got back", isDone: memory.isBack, how: files),
            Step(
                title: "Mail goes out", isDone: memory.isMailed,
                how:
                    "<a href=\"/settings#mail\">Say to whom and how</a>, and send a test: a server that cannot complain looks like one that is well."
            ),
            Step(
                title: "A second machine has enrolled", isDone: machines.count { $0.state == .active } > 1,
                how: "<a href=\"/enrolment\">Make another line</a>."),
        ]
        if visit.core.keys != nil {
            steps.insert(
                Step(
                    title: "The key sheet was checked", isDone: try catalog.setting(ServerCore.sheetSetting) != nil,
                    how: """
                        Print the sheet, type it back on the server once with <code>\(visit.core.sheetCommand)</code>, and keep it somewhere else. With it \
                        and the vault everything comes back; without it nothing does.
                        """), at: 2)
        }
        let done = steps.count(where: \.isDone)
        let rows: [HTML] = steps.map { step in
            step.isDone
                ? "<li class=\"ticked\"><span class=\"tick\" aria-hidden=\"true\"></span><div><strong>\(step.title)</strong><span class=\"unseen\">: done</span></div></li>"
                : "<li><span class=\"tick\" aria-hidden=\"true\"></span><div><strong>\(step.title)</strong><p>\(step.how)</p></div></li>"
        }
        let dismiss: HTML? =
            done == steps.count
            ? """
            <form method="post" action="/first-hour">\(Piece.formToken(visit))<button>Put this list away</button></form>
            """ : nil
        return """
            <section class="first-hour"><h2 id="first-hour">The first hour: \(done) of \(steps.count) done</h2><ol>\(rows)</ol>\(dismiss)</section>
            """
    }
}
