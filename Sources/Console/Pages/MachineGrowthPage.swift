import Browsing
import Catalog
import Client
import Model
import Policy
import Server
import Vault

/// What fills the vault: the paths of a machine whose contents have added most to it over some days, and one step to leave each out.
enum MachineGrowthPage {
    static let all: [Page] = [
        .get(
            "/machines/{machine}/growth", "The paths of a machine that add most to the vault.", .right(.seeNames), show)
    ]

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        let days = visit.query.number("days", in: 1...366) ?? 7
        let choices: [HTML] = [1, 7, 30, 90].map { number in
            number == days
                ? "<strong aria-current=\"true\">\(Units.count(number, "day"))</strong>"
                : "<a href=\"/machines/\(machine.id.hex)/growth?days=\(number)\">\(Units.count(number, "day"))</a>"
        }
        let head: HTML = """
            <p><a href="/machines/\(machine.id.hex)">Back to \(machine.name)</a></p>
            <nav class="choices" aria-label="Over how long">The last \(HTML.joined(choices, by: ", "))</nav>
            """
        let growth = try visit.desk.growth(of: machine, days: Int64(days))
        if growth.points.count < 2 {
            let told: HTML =
                growth.points.isEmpty
                ? Piece.empty(
                    "No point in that time", "<p>Nothing was added to the vault: choose a longer time.</p>")
                : Piece.empty(
                    "One point only",
                    "<p>What adds to the vault is seen by comparing points: come back when there is another.</p>")
            return page(machine, visit, "\(head)\(told)")
        }
        return page(machine, visit, "\(head)\(table(growth, machine, visit))")
    }

    private static func page(_ machine: ManagedMachine, _ visit: Visit, _ content: HTML) -> ServerAnswer {
        Layout.page("What fills the vault: \(machine.name)", visit, wide: true, content)
    }

    private static func table(
        _ growth: MachineGrowth, _ machine: ManagedMachine, _ visit: Visit
    ) -> HTML {
        let (top, points) = (growth.places, growth.points)
        if top.isEmpty {
            return Piece.empty("Nothing has changed", "<p>No file was added or replaced in that time.</p>")
        }
        let total = max(growth.total, 1)
        let policy = visit.may(.managePolicies) && visit.seesAllMachines ? target(machine, visit) : nil
        let rows: [HTML] = top.map { place in
            let (path, bytes, files) = (place.path, place.bytes, place.files)
            let text = path.displayText
            let exclude: HTML =
                place.isRest
                ? .nothing
                : policy.map { name in
                    String(validating: path.bytes, as: UTF8.self).map { plain in
                        """
                        <a class="button quiet" href="/policies-editor?policy=\(Address.encode(name))&exclude=\(Address.encode(GrowthTally.pattern(plain)))" \
                        aria-label="Leave \(text) out, by the policy \(name)">Leave out…</a>
                        """ as HTML
                    } ?? .nothing
                } ?? .nothing
            return """
                <tr><th scope="row"><a href="/machines/\(machine.id.hex)/files?path=\(Address.encode([0x2F] + path.bytes))">\(text)</a>\(place.isRest ? "<small>other things in it</small>" : .nothing)</th>
                <td class="number" data-label="New content">\(Piece.size(bytes))</td><td class="number" data-label="Files">\(Units.count(files))</td>
                <td data-label="Part"><meter min="0" max="\(total)" value="\(bytes)" aria-label="Its part of all new content"></meter></td><td>\(exclude)</td></tr>
                """
        }
        let limit: HTML? =
            growth.isPartial
            ? "<p class=\"note\">There were more than \(Units.count(MachineGrowth.mostChanges)) changes; the first so many are counted.</p>"
            : nil
        let hint: HTML =
            policy.map {
                "<p class=\"hint\">“Leave out” opens the policy <a href=\"\(PolicyPages.address($0))\">\($0)</a> with the line added, and shows what it changes before anything is saved. What is in the vault already stays as long as the rules keep it.</p>"
            }
            ?? (visit.may(.managePolicies) && visit.seesAllMachines
                ? "<p class=\"hint\">The machine follows no policy that could leave something out: <a href=\"/policies\">give it one</a> first.</p>"
                : .nothing)
        return """
            <p class="hint">Contents that were new or replaced between \(TimeText.localMinute(points[0].effective, in: visit.zone)) and \
            \(TimeText.localMinute(points[points.count - 1].effective, in: visit.zone)), by comparing \(Units.count(points.count, "point")): before \
            compression, and before equal contents are kept once. In the vault it is less.</p>\(limit)
            <table class="list"><thead><tr><th scope="col">Path</th><th scope="col" class="number">New content</th><th scope="col" class="number">Files</th>\
            <th scope="col">Part</th><th scope="col"><span class="unseen">Change</span></th></tr></thead><tbody>\(rows)</tbody></table>\(hint)
            """
    }

    /// The policy that a line is added to: the machine's own, else the one of its groups that counts most.
    private static func target(_ machine: ManagedMachine, _ visit: Visit) -> String? {
        guard let place = try? visit.core.catalog.placement(of: machine.id) else { return nil }
        if let own = place.policy { return own }
        let groups = (try? visit.core.catalog.groupPolicies()) ?? [:]
        return place.groups.reversed().compactMap { groups[$0] }.first
    }
}
