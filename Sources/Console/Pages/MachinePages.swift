import Catalog
import Client
import Model
import Server

/// The machines, and each of them.
enum MachinePages {
    static let all: [Page] = [.get("/machines", "The machines.", .right(.seeStates), list)]

    private static let pageLength = 100

    @Sendable private static func list(_ visit: Visit) throws -> ServerAnswer {
        let wanted = visit.query.text("state")
        let search = visit.query.text("q").lowercased()
        var machines = try visit.machines().map { visit.core.overview(of: $0) }
        let total = machines.count
        machines = machines.filter { machine in
            if !wanted.isEmpty, MachineState(machine.condition).rawValue != wanted { return false }
            if !search.isEmpty, !machine.machine.name.lowercased().contains(search),
                !machine.machine.group.lowercased().contains(search)
            {
                return false
            }
            return wanted == MachineState.retired.rawValue || machine.machine.state != .retired
        }
        let pages = max((machines.count + pageLength - 1) / pageLength, 1)
        let page = min(visit.query.number("page", in: 1...100_000) ?? 1, pages)
        let rows: [HTML] = machines.dropFirst((page - 1) * pageLength).prefix(pageLength).map { row($0, visit) }
        let states: [HTML] = MachineState.allCases.map { state in
            let selected: HTML = state.rawValue == wanted ? " selected" : .nothing
            return "<option value=\"\(state.rawValue)\"\(selected)>\(state.word)</option>"
        }
        let filter: HTML = """
            <form class="filter" role="search"><label>Name or group
            <input type="search" name="q" value="\(visit.query.text("q"))"></label>
            <label>State<select name="state"><option value="">Any</option>\(states)</select></label>
            <button>Filter</button></form>
            """
        let table: HTML = """
            <table><caption>\(machines.count) of \(total) machine\(total == 1 ? "" : "s")</caption>
            <thead><tr><th>Machine</th><th>State</th><th class="number">Lag</th><th>Last point</th>
            <th class="number">Files</th><th class="number">Size</th><th>Agent</th></tr></thead><tbody>\(rows)</tbody></table>
            """
        return Layout.page("Machines", visit, wide: true, "\(filter)\(table)\(pager(visit, page, pages))")
    }

    private static func row(_ machine: MachineOverview, _ visit: Visit) -> HTML {
        let state = MachineState(machine.condition)
        let report = machine.report
        let former: HTML? = machine.machine.formerNames.first.map { "<small>formerly \($0)</small>" }
        let copy: HTML? = machine.cloneHost.map { "<small>a copy called \($0) came with its identity</small>" }
        return """
            <tr><th scope="row">\(machine.machine.name)<small>\(machine.machine.group)</small>\(former)\(copy)</th>
            <td>\(Piece.state(state.colour, state.word))\(report?.problem.map { "<small>\($0)</small>" as HTML })</td>
            <td class="number">\(report.map { Piece.span($0.lag / 1_000_000_000) } ?? "")</td>
            <td>\(report?.newest.map { Piece.time($0.time, now: visit.now) })</td>
            <td class="number">\(report.map { String($0.files) } ?? "")</td>
            <td class="number">\(report.map { Piece.size($0.bytes) })</td>
            <td>\(report?.program ?? "")<small>\(Piece.time(machine.lastSeen, now: visit.now))</small></td></tr>
            """
    }

    private static func pager(_ visit: Visit, _ page: Int, _ pages: Int) -> HTML {
        guard pages > 1 else { return .nothing }
        func link(_ number: Int, _ word: String) -> HTML {
            guard (1...pages).contains(number), number != page else { return "<span>\(word)</span>" }
            let query = Address.query([
                ("q", visit.query.text("q")), ("state", visit.query.text("state")), ("page", "\(number)"),
            ])
            return "<a href=\"/machines\(query)\">\(word)</a>"
        }
        return """
            <nav class="pager" aria-label="Pages of the list">\(link(page - 1, "Back"))
            <span>Page \(page) of \(pages)</span>\(link(page + 1, "Next"))</nav>
            """
    }
}
