import Catalog
import Client
import Model
import Policy
import Server
import Vault

/// What is said of one machine: what of it is kept safe, what it does, what happened, and which policies are its.
enum MachineFacts {
    // MARK: What is protected

    static func protection(
        _ machine: ManagedMachine, _ policy: EffectivePolicy?, _ report: MachineReport?, _ visit: Visit
    ) -> HTML {
        let filling: HTML? =
            visit.may(.seeNames)
            ? "<p><a href=\"/machines/\(machine.id.hex)/growth\">What fills the vault: the paths that add most</a></p>"
            : nil
        guard let policy, !policy.protect.isEmpty else {
            return """
                <section><h2>What is protected</h2><p>No policy names a path for it: it keeps safe what was said on the machine itself, if anything. \
                \(visit.may(.managePolicies) ? "<a href=\"/policies\">Give it a policy</a>." : .nothing)</p>\(filling)</section>
                """
        }
        let rows: [HTML] = policy.protect.prefix(50).map { item in
            let path = TreePath.display(item.value.path)
            let said = item.origin.policy
            let isKnown = visit.seesAllMachines && said != Origin.defaults.policy && !said.hasPrefix("class ")
            let origin: HTML =
                isKnown
                ? "<a href=\"\(PolicyPages.address(said))\">\(item.origin.description)</a>"
                : "\(item.origin.description)"
            return """
                <tr><th scope="row"><code>\(path)</code></th><td>\(item.value.mode == .continuous ? "every version, within seconds" : "at \(policy.schedule.value.description)")</td>
                <td class="hint">from \(origin)</td></tr>
                """
        }
        let excluded = policy.exclude.count
        let out: HTML? =
            excluded == 0
            ? nil
            : "<p class=\"hint\">\(Units.count(excluded, "rule")) \(excluded == 1 ? "leaves" : "leave") something out; they stand <a href=\"#policies\">with the policies</a>.</p>"
        return """
            <section><h2>What is protected</h2><table class="plain"><tbody>\(rows)</tbody></table>\(out)\(filling)</section>
            """
    }

    // MARK: What it does

    private static func word(_ activity: MachineReport.Activity) -> String {
        switch activity {
        case .idle: "everything known to have changed is stored"
        case .scanning: "looking at everything"
        case .capturing: "storing changes"
        case .waiting: "waiting: the vault could not be written to, it is tried again"
        case .paused: "paused by somebody there"
        case .asleep: "asleep, or switched off"
        case .stopped: "its agent was stopped"
        }
    }

    static func activity(_ overview: MachineOverview, _ visit: Visit) -> HTML {
        guard let report = overview.report else {
            return """
                <section><h2>Activity</h2><p>Its agent has not reported yet. Is <code>holdfast-agent</code> installed there and running? \
                <code>holdfast agent status</code> on the machine says.</p></section>
                """
        }
        var facts: [(String, HTML)] = [("Does", "\(word(report.activity))")]
        facts.append(("Waits to be stored", "\(Units.count(report.waiting, "path"))"))
        if let spool = report.spool {
            let full: HTML = spool.isFull ? " \(Piece.state("bad", "full"))" : .nothing
            facts.append(("Waits to be sent", "\(Piece.size(spool.bytes)) of \(Units.binarySize(spool.limit))\(full)"))
        }
        if let trip = report.roundTrip { facts.append(("Way to this server and back", "\(trip / 1_000_000) ms")) }
        facts.append(("Agent", "\(report.program)"))
        facts.append(("System", "\(report.kernel)"))
        let list: [HTML] = facts.map { "<div><dt>\($0.0)</dt><dd>\($0.1)</dd></div>" }
        let watches: [HTML] = report.watches.prefix(50).map { watch in
            let way: HTML =
                watch.scanReason.map { "looked at again and again, because \($0)" } ?? "changes are seen as they happen"
            return
                "<tr><th scope=\"row\"><code>\(watch.mountPoint)</code><small>\(watch.kind)</small></th><td>\(way)</td></tr>"
        }
        let systems: HTML = watches.isEmpty ? .nothing : "<table class=\"plain\"><tbody>\(watches)</tbody></table>"
        let notKept: HTML? =
            report.notKeptCount > 0
            ? """
            <p class="note">\(Units.count(report.notKeptCount, "path")) could not be kept as they are; <code>holdfast agent status</code> on the machine names them.</p>
            """ : nil
        return "<section><h2>Activity</h2><dl class=\"facts small\">\(list)</dl>\(notKept)\(systems)</section>"
    }

    // MARK: What happened

    private struct Event {
        var time: Timestamp
        var mark: HTML
        var text: HTML
    }

    static func events(_ machine: ManagedMachine, _ visit: Visit) throws -> HTML {
        var events = try visit.core.alertHistory(resolved: 1_000).filter { $0.machine == machine.id }.prefix(30).map {
            alert in
            Event(time: alert.raised, mark: AlertPages.severity(alert), text: Piece.prose(alert.text))
        }
        if visit.may(.seeAudit) {
            let lines = try visit.core.catalog.auditLines(before: .max, limit: 2_000).filter {
                $0.object == machine.name
            }
            events += lines.prefix(30).map { line in
                Event(time: line.time, mark: Piece.state("grey", "By hand"), text: "\(line.action) by \(line.who)")
            }
        }
        events.append(Event(time: machine.enrolled, mark: Piece.state("grey", "Enrolled"), text: "It came in."))
        let rows: [HTML] = events.sorted { $0.time > $1.time }.prefix(30).map { event in
            "<li>\(event.mark)<div>\(event.text)<small>\(Piece.time(event.time, now: visit.now))</small></div></li>"
        }
        return "<details class=\"card\"><summary>Events</summary><ul class=\"alerts\">\(rows)</ul></details>"
    }

    // MARK: Policies

    static func placement(_ machine: ManagedMachine, _ policy: EffectivePolicy?, _ visit: Visit) throws -> HTML {
        let effective: HTML
        if let policy {
            let layers: [HTML] = policy.layers.map { name in
                visit.seesAllMachines && name != Origin.defaults.policy && !name.hasPrefix("class ")
                    ? "<a href=\"\(PolicyPages.address(name))\">\(name)</a>" : "\(name)"
            }
            effective = """
                <p>\(HTML.joined(layers, by: " &lt; ")) <span class="hint">(what stands last counts most)</span></p>
                <details><summary>All that holds, and where each value comes from</summary><pre tabindex="0" class="code">\(policy.yaml())</pre></details>
                """
        } else {
            effective =
                "<p class=\"error\">One of its policies cannot be read by this version; the machine goes on with what it knew.</p>"
        }
        guard visit.may(.managePolicies), visit.seesAllMachines else {
            return "<section id=\"policies\"><h2>Policies</h2>\(effective)</section>"
        }
        let place = try visit.core.catalog.placement(of: machine.id)
        let own = place.policy ?? ""
        let names = try visit.core.catalog.policies().map(\.name)
        let policies: [HTML] = names.map { "<option\($0 == own ? " selected" : .nothing)>\($0)</option>" }
        let classes: [HTML] = MachineClass.allCases.map { kind in
            """
            <option value="\(kind.rawValue)"\(kind.rawValue == place.machineClass ? " selected" : .nothing)>\(kind.rawValue): \(kind.summary)</option>
            """
        }
        return """
            <section id="policies"><h2>Policies</h2>\(effective)<details><summary>Change whose policies it follows</summary>
            <form method="post" action="/machines/\(machine.id.hex)/placement">\(Piece.formToken(visit))
            <label>Class<select name="class"><option value="">none</option>\(classes)</select></label>
            <label>Groups, the one that counts least first<input name="groups" value="\(place.groups.joined(separator: ", "))" required></label>
            <label>A policy of its own<select name="policy"><option value="">none</option>\(policies)</select></label>
            <button>Change it</button></form></details></section>
            """
    }
}
