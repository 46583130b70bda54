import Catalog
import Client
import Model
import Policy
import Server
import Vault

/// The machines as a table, and what is done to several at once.
enum MachineList {
    static let all: [Page] = [
        .get("/machines", "The machines.", .right(.seeStates)) { visit in
            Layout.page(
                "Machines", visit, wide: true, feed: FeedPage.states,
                "\(done(visit))\(try table(visit).show(try rows(visit), visit))")
        },
        .get("/machines.csv", "The machines as a table for other programs.", .right(.seeStates)) { visit in
            try table(visit).file(try rows(visit), visit, name: "machines")
        },
        .post("/machines/selected", .right(.seeStates), act),
    ]

    struct Row: Sendable {
        var overview: MachineOverview
        var state: MachineState
        var policies: [String]
        var name: String { overview.machine.name }
        /// What nobody knows is worse than all that is known; who is retired is not behind.
        var lag: Int64 { state == .retired ? -1 : overview.lag ?? .max }
    }

    /// What policies machines have, by their names; empty for those who may not see policies.
    private static func policies(_ visit: Visit) throws -> (MachineID) -> [String] {
        let groups = try visit.core.catalog.groupPolicies()
        let places = try visit.core.catalog.placements()
        return { id in
            guard let place = places[id] else { return [] }
            return (place.machineClass.map { ["class " + $0] } ?? []) + place.groups.compactMap { groups[$0] }
                + (place.policy.map { [$0] } ?? [])
        }
    }

    static func rows(_ visit: Visit) throws -> [Row] {
        let policies = try policies(visit)
        let isRetiredWanted = visit.query.text("state") == MachineState.retired.rawValue
        return try visit.machines().filter { isRetiredWanted || $0.state != .retired }.map { machine in
            let overview = visit.core.overview(of: machine)
            return Row(overview: overview, state: MachineState(overview.condition), policies: policies(machine.id))
        }
    }

    private static func table(_ visit: Visit) throws -> Table<Row> {
        var table = Table<Row>(
            path: "/machines", noun: ("machine", "machines"), columns: columns(visit), usualOrder: "name")
        let rows = try rows(visit)
        func choices(_ values: [String]) -> [(value: String, title: String)] {
            Set(values).sorted().prefix(200).map { ($0, $0) }
        }
        table.search = (
            "Name or group",
            { row, text in
                row.name.lowercased().contains(text) || row.overview.machine.group.lowercased().contains(text)
            }
        )
        table.filters = [
            Table.Filter(
                name: "state", title: "State",
                choices: MachineState.allCases.map { ($0.rawValue, $0.word) }
                    + [("attention", "Needs somebody"), ("unprotected", "Not protected now")]
            ) { row, value in
                switch value {
                case "attention": row.state.needsSomebody
                case "unprotected": row.state.needsSomebody || row.state.isExposed
                default: row.state.rawValue == value
                }
            }
        ]
        let policies = choices(rows.flatMap(\.policies)) + [("-", "none")]
        table.filters.append(
            Table.Filter(name: "policy", title: "Policy", choices: policies) { row, value in
                value == "-" ? row.policies.isEmpty : row.policies.contains(value)
            })
        let agents = choices(rows.map { $0.overview.report?.program ?? "" }.filter { !$0.isEmpty })
        if agents.count > 1 {
            table.filters.append(
                Table.Filter(name: "agent", title: "Agent", choices: agents) { row, value in
                    row.overview.report?.program == value
                })
        }
        table.id = { $0.overview.machine.id.hex }
        table.actionPath = "/machines/selected"
        if visit.may(.operate) { table.actions.append(.init(name: "back-up", title: "Back up now", isMain: true)) }
        if visit.may(.manageMachines) {
            table.actions += [.init(name: "approve", title: "Approve"), .init(name: "retire", title: "Retire…")]
        }
        table.empty = Piece.empty(
            "No machine is protected yet",
            visit.may(.manageMachines)
                ? "<p>A machine comes in by one line that is pasted on it. <a class=\"button main\" href=\"/enrolment\">Make the line</a></p>"
                : "<p>An administrator makes the line that brings one in, under Enrolment.</p>")
        return table
    }

    private static func columns(_ visit: Visit) -> [Table<Row>.Column] {
        let now = visit.now
        let seesNames = visit.may(.seeNames)
        func at(_ row: Row) -> String { "/machines/\(row.overview.machine.id.hex)" }
        func lead(_ row: Row, _ to: String, _ text: HTML) -> HTML {
            seesNames ? "<a href=\"\(at(row))/\(to)\">\(text)</a>" : text
        }
        func link(policy: String) -> HTML {
            visit.seesAllMachines && !policy.hasPrefix("class ")
                ? "<a href=\"\(PolicyPages.address(policy))\">\(policy)</a>" : "\(policy)"
        }
        return [
            .init("name", "Machine", by: { $0.name.lowercased() }, plain: \.name) { row in
                let machine = row.overview.machine
                let former: HTML? = machine.formerNames.first.map { "<small>formerly \($0)</small>" }
                let copy: HTML? = row.overview.cloneHost.map {
                    "<small>a copy called \($0) came with its identity</small>"
                }
                return
                    "<a href=\"/machines/\(machine.id.hex)\">\(machine.name)</a><small>\(machine.group)</small>\(former)\(copy)"
            },
            .init(
                "state", "State", order: { $0.state.rank < $1.state.rank }, plain: { $0.state.word },
                cell: { row in
                    let problem: HTML? = row.overview.report?.problem.map { "<small>\(String($0.prefix(160)))</small>" }
                    return Piece.state(row.state.colour, row.state.word) + (problem ?? .nothing)
                }),
            .init(
                "lag", "Lag", isNumber: true, startsLargest: true, by: \.lag,
                plain: { $0.overview.lag.map { "\($0 / 1_000_000_000)" } ?? "" },
                cell: { row in
                    if row.state == .retired { return .nothing }
                    return "<a href=\"\(at(row))#activity\">\(Piece.lag(row.overview.lag))</a>"
                }),
            .init(
                "point", "Last point", startsLargest: true,
                by: { $0.overview.report?.newest?.time.nanoseconds ?? .min },
                plain: { $0.overview.report?.newest.map { TimeText.rfc3339($0.time) } ?? "" },
                cell: { row in
                    guard let newest = row.overview.report?.newest else { return .nothing }
                    return "<a href=\"\(at(row))/points\">\(Piece.time(newest.time, now: now))</a>"
                }),
            .init(
                "files", "Files", isNumber: true, startsLargest: true, by: { $0.overview.report?.files ?? 0 },
                plain: { $0.overview.report.map { "\($0.files)" } ?? "" },
                cell: { row in
                    row.overview.report.map { lead(row, "files", "\(Units.count($0.files))") } ?? .nothing
                }),
            .init(
                "size", "Size", isNumber: true, startsLargest: true, by: { $0.overview.report?.bytes ?? 0 },
                plain: { $0.overview.report.map { "\($0.bytes)" } ?? "" },
                cell: { row in
                    row.overview.report.map { lead(row, "growth", Piece.size($0.bytes)) } ?? .nothing
                }),
            .init(
                "policy", "Policy", by: { $0.policies.joined(separator: ", ") },
                plain: { $0.policies.joined(separator: ", ") },
                cell: { row in HTML.joined(row.policies.map { link(policy: $0) }, by: ", ") }),
            .init(
                "seen", "Agent", startsLargest: true, by: { $0.overview.lastSeen.nanoseconds },
                plain: { $0.overview.report?.program ?? "" },
                cell: { row in
                    "\(row.overview.report?.program ?? "")<small>\(Piece.time(row.overview.lastSeen, now: now))</small>"
                }),
        ]
    }

    // MARK: Several at once

    private static func done(_ visit: Visit) -> HTML? {
        let count = visit.query.number("count", in: 0...Selection.most) ?? 0
        let machines = Units.count(count, "machine")
        let text: String? =
            switch visit.query.text("done") {
            case "back-up":
                "\(machines) \(count == 1 ? "was" : "were") asked to back up now; each does so as soon as it hears of it."
            case "approve": "\(machines) \(count == 1 ? "was" : "were") let in."
            case "retire": "\(machines) \(count == 1 ? "was" : "were") retired. Their points stay as the rules say."
            default: nil
            }
        return text.map { "<p class=\"done\" role=\"status\">\($0)</p>" }
    }

    @Sendable private static func act(_ visit: Visit) throws -> ServerAnswer {
        let selection = try Selection(visit, back: "/machines")
        let machines = try selection.ids.map { try visit.machine($0) }
        func need(_ right: AccountRight) throws {
            guard visit.may(right) else {
                throw HoldfastError(.denied, "Your account may not do this; nothing was done.")
            }
        }
        var count = 0
        switch selection.action {
        case "back-up":
            try need(.operate)
            for machine in machines where machine.state == .active {
                try visit.note("backup.asked", to: machine.name)
                try visit.core.backUpNow(machine.id, by: visit.name)
                count += 1
            }
        case "approve":
            try need(.manageMachines)
            let waiting = machines.filter { $0.waitingKey != nil }
            guard !waiting.isEmpty else {
                throw HoldfastError(.usage, "None of the selected machines waits for approval; nothing was done.")
            }
            if visit.form.text("sure") != "yes" { return approval(waiting, selection, visit) }
            for machine in waiting {
                try visit.note("machine.approved", to: machine.name)
                try visit.core.approve(machine.id)
                count += 1
            }
        case "retire":
            try need(.manageMachines)
            let active = machines.filter { $0.state != .retired }
            guard !active.isEmpty else {
                throw HoldfastError(.usage, "The selected machines are retired already; nothing was done.")
            }
            let words = active.count == 1 ? active[0].name : "retire \(active.count) machines"
            if visit.form.text("name") != words { return retirement(active, words, selection, visit) }
            for machine in active {
                try visit.note("machine.retired", to: machine.name)
                try visit.core.retire(machine.id)
                count += 1
            }
        default: throw HoldfastError(.usage, "There is no such action; nothing was done.")
        }
        let mark = selection.back.contains("?") ? "&" : "?"
        let back = selection.back.replacing(/[?&](pick=[^&]*|all=1)/, with: "")
        return .redirect(back + (back.contains("?") ? mark : "?") + "done=\(selection.action)&count=\(count)")
    }

    private static func fields(_ machines: [ManagedMachine], _ selection: Selection, _ visit: Visit) -> HTML {
        let picks: [HTML] = machines.map { "<input type=\"hidden\" name=\"pick\" value=\"\($0.id.hex)\">" }
        return """
            \(Piece.formToken(visit))\(picks)<input type="hidden" name="do" value="\(selection.action)">\
            <input type="hidden" name="back" value="\(selection.back)">
            """
    }

    private static func names(_ machines: [ManagedMachine]) -> HTML {
        let items: [HTML] = machines.map { "<li>\($0.name)</li>" }
        return "<ul class=\"names\">\(items)</ul>"
    }

    private static func approval(_ machines: [ManagedMachine], _ selection: Selection, _ visit: Visit) -> ServerAnswer {
        Layout.page(
            "Approve \(Units.count(machines.count, "machine"))?", visit,
            """
            <section class="ask"><p>Under the ids of these machines others have come, with keys of their own: the machines after a new \
            installation, copies of them, or somebody who found their ids. Say yes only if you know that they are these machines: they go on \
            with this history, and what had the ids before is refused.</p>\(names(machines))
            <form method="post" action="/machines/selected" class="actions">\(fields(machines, selection, visit))
            <button class="main" name="sure" value="yes">They are these machines</button><a class="button" href="\(selection.back)">Leave it</a></form></section>
            """)
    }

    private static func retirement(
        _ machines: [ManagedMachine], _ words: String, _ selection: Selection, _ visit: Visit
    ) -> ServerAnswer {
        let wrong: HTML? =
            visit.form.bytes("name") == nil
            ? nil : "<p class=\"error\" role=\"alert\">Nothing was done: what was typed is not “\(words)”.</p>"
        return Layout.page(
            "Retire \(Units.count(machines.count, "machine"))?", visit,
            """
            \(wrong)<section class="ask"><p>Their keys open nothing any more, and they are not missed. Their points stay as the rules say, and each can \
            be brought back with <code>holdfast server machines --return NAME</code>.</p>\(names(machines))
            <form method="post" action="/machines/selected" class="narrow">\(fields(machines, selection, visit))
            <label>Type “\(words)”, to be sure<input name="name" autocomplete="off" autocapitalize="none" required></label>
            <div class="actions"><button class="main">Retire</button><a class="button" href="\(selection.back)">Leave it</a></div></form></section>
            """)
    }
}
