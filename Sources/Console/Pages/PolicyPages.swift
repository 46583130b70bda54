import Catalog
import Client
import Model
import Policy
import Server
import Vault

/// What machines keep safe, how often and for how long, and which of them.
enum PolicyPages {
    static let all: [Page] =
        [
            .get("/policies", "Policies, and who has them.", .right(.seeStates), list),
            .get(
                "/policies/{policy}", "A policy: what it says, who has it, and how it came to be.", .right(.seeStates),
                show),
            .get(
                "/policies/{policy}/revisions/{revision}", "What a revision of a policy changed.", .right(.seeStates),
                PolicyHistory.show),
            .post("/policies/{policy}/take-back", .right(.managePolicies), PolicyHistory.takeBack),
            .post("/policies/{policy}/assign", .right(.managePolicies), assign),
            .post("/policies/{policy}/release", .right(.managePolicies), release),
            .post("/policies/{policy}/remove", .right(.managePolicies), remove),
            .post("/machines/{machine}/placement", .right(.managePolicies), place),
        ] + PolicyEditPages.all

    // MARK: Finding

    /// Policies name paths of all machines.
    static func book(_ visit: Visit) throws -> PolicyBook {
        guard visit.seesAllMachines else {
            throw HoldfastError(
                .denied, "Policies are shown to those who see all machines.",
                context: ["hint": "What holds for a machine of yours stands on its own page."])
        }
        return visit.core.policies(by: visit.name)
    }

    static func name(_ visit: Visit) -> String {
        let text = visit.request.parameters["policy"] ?? ""
        return Address.decode(text).map { String(decoding: $0, as: UTF8.self) } ?? text
    }

    static func address(_ policy: String) -> String { "/policies/" + Address.encode(policy) }

    // MARK: All of them

    @Sendable private static func list(_ visit: Visit) throws -> ServerAnswer {
        let book = try book(visit)
        let policies = try book.policies()
        let subjects = try book.machines()
        var all: [String: String] = [:]
        for policy in policies { for group in policy.groups { all[group] = policy.newest.name } }
        let assigned = all
        func count(_ policy: PolicyListing) -> Int {
            subjects.count { subject in
                subject.policy == policy.newest.name || subject.groups.contains { assigned[$0] == policy.newest.name }
            }
        }
        let rows: [HTML] = policies.map { policy in
            let machines = count(policy)
            let number: HTML =
                machines == 0
                ? Piece.state("grey", "nobody has it")
                : "<a href=\"/machines?policy=\(Address.encode(policy.newest.name))\">\(Units.count(machines, "machine"))</a>"
            let groups =
                policy.groups.isEmpty
                ? "" : "group\(policy.groups.count == 1 ? "" : "s") " + policy.groups.joined(separator: ", ")
            return """
                <tr><th scope="row"><a href="\(address(policy.newest.name))">\(policy.newest.name)</a></th>
                <td data-label="Has it">\(number)<small>\(groups)</small></td><td data-label="Version" class="number">\(policy.newest.revision)</td>
                <td data-label="Last changed">\(Piece.time(policy.newest.time, now: visit.now))<small>by \(policy.newest.author)</small></td></tr>
                """
        }
        let bare = subjects.filter { subject in
            subject.policy == nil && subject.machineClass == nil && !subject.groups.contains { assigned[$0] != nil }
        }
        let without: HTML? =
            bare.isEmpty || policies.isEmpty
            ? nil
            : """
            <p class="note">\(Units.count(bare.count, "machine")) \(bare.count == 1 ? "has" : "have") no policy, and \(bare.count == 1 ? "keeps" : "keep") safe only what \
            was said on the machine itself: <a href="/machines?policy=-">see which</a>.</p>
            """
        let new: HTML? =
            visit.may(.managePolicies)
            ? "<div class=\"actions\"><a class=\"button main\" href=\"/policies-editor\">New policy</a></div>" : nil
        let table: HTML =
            policies.isEmpty
            ? Piece.empty(
                "No policy yet",
                """
                <p>A policy says what machines keep safe, how often and for how long. Make one, assign it to the group \
                <code>default</code>, and every machine that enrols there follows it.</p>
                """)
            : """
            <table class="list"><thead><tr><th scope="col">Policy</th><th scope="col">Who has it</th><th scope="col" class="number">Version</th>\
            <th scope="col">Last changed</th></tr></thead><tbody>\(rows)</tbody></table>
            """
        let changes = try book.changes().prefix(30).map { change -> HTML in
            "<tr><td>\(Piece.time(change.time, now: visit.now))</td><th scope=\"row\">\(change.author)</th><td>\(change.text)</td></tr>"
        }
        let history: HTML? =
            changes.isEmpty
            ? nil
            : """
            <details class="card"><summary>Who changed what lately</summary><table class="plain"><tbody>\(changes)</tbody></table></details>
            """
        return Layout.page("Policies", visit, "\(new)\(table)\(without)\(history)")
    }

    // MARK: One

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let book = try book(visit)
        let name = name(visit)
        let policy = try book.policy(name, revision: nil)
        let subjects = try book.subjects(having: name)
        let groups = try book.policies().first { $0.newest.name == name }?.groups ?? []
        let done: HTML? =
            switch visit.query.text("done") {
            case "saved":
                "<p class=\"done\" role=\"status\">Saved. Machines that are there follow it within seconds; others when they come.</p>"
            case "same": "<p class=\"done\" role=\"status\">Nothing was changed: it says this already.</p>"
            case "assigned" where subjects.isEmpty:
                "<p class=\"done\" role=\"status\">Done. No machine follows it now; one that enrols into a group that has it will.</p>"
            case "assigned": "<p class=\"done\" role=\"status\">Done. The machines hear of it within seconds.</p>"
            default: nil
            }
        let buttons: HTML? =
            visit.may(.managePolicies)
            ? "<div class=\"actions\"><a class=\"button main\" href=\"/policies-editor?policy=\(Address.encode(name))\">Change it</a></div>"
            : nil
        return Layout.page(
            "Policy \(name)", visit,
            """
            \(done)<dl class="facts card"><div><dt>Version</dt><dd>\(policy.revision.revision)</dd></div>
            <div><dt>Last changed</dt><dd>\(Piece.time(policy.revision.time, now: visit.now))</dd></div><div><dt>By</dt><dd>\(policy.revision.author)</dd></div>
            <div><dt>Machines</dt><dd><a href="/machines?policy=\(Address.encode(name))">\(Units.count(subjects.count))</a></dd></div></dl>
            <h2>What it says</h2><pre tabindex="0" class="code">\(policy.text)</pre>\(buttons)
            <section><h2>Who has it</h2>\(holders(name, groups, subjects.filter { $0.policy == name }, visit))</section>
            \(try PolicyHistory.table(name, book, visit))\(removal(name, isHeld: !subjects.isEmpty || !groups.isEmpty, visit))
            """)
    }

    private static func holders(
        _ name: String, _ groups: [String], _ own: [PolicySubject], _ visit: Visit
    ) -> HTML {
        let mayChange = visit.may(.managePolicies)
        func release(_ field: String, _ value: String, _ of: String) -> HTML {
            guard mayChange else { return .nothing }
            return """
                <form method="post" action="\(address(name))/release">\(Piece.formToken(visit))<input type="hidden" name="\(field)" value="\(value)">\
                <button class="quiet" aria-label="Remove it from \(of)">Remove</button></form>
                """
        }
        let groupRows: [HTML] = groups.map { group in
            """
            <tr><th scope="row"><a href="/machines?q=\(Address.encode(group))">\(group)</a><small>group</small></th><td>\(release("group", group, group))</td></tr>
            """
        }
        let ownRows: [HTML] = own.map { subject in
            """
            <tr><th scope="row"><a href="/machines/\(subject.machine.hex)">\(subject.name)</a><small>its own</small></th>\
            <td>\(release("machine", subject.machine.hex, subject.name))</td></tr>
            """
        }
        let table: HTML =
            groups.isEmpty && own.isEmpty
            ? "<p>Nobody has it yet. Assign it to a group: every machine of the group follows it, also those that come later.</p>"
            : "<table class=\"plain\"><tbody>\(groupRows)\(ownRows)</tbody></table>"
        let form: HTML? =
            mayChange
            ? """
            <form method="post" action="\(address(name))/assign" class="filter">\(Piece.formToken(visit))
            <label>Assign it to a group<input name="group" maxlength="64" placeholder="default" list="groups"></label>
            <label>or to one machine<input name="machine" maxlength="253" placeholder="its name" list="machines"></label><button>Assign</button>
            \(groupChoices(visit))\(machineChoices(visit))</form>
            """ : nil
        return "\(table)\(form)"
    }

    /// Names of groups to choose from, for a field with `list="groups"`.
    static func groupChoices(_ visit: Visit) -> HTML {
        var names = Set(((try? visit.machines()) ?? []).map(\.group))
        if visit.seesAllMachines {
            for place in ((try? visit.core.catalog.placements()) ?? [:]).values { names.formUnion(place.groups) }
            names.formUnion(((try? visit.core.catalog.groupPolicies()) ?? [:]).keys)
        }
        return choices("groups", names.filter { !$0.isEmpty })
    }

    /// Names of machines to choose from, for a field with `list="machines"`.
    private static func machineChoices(_ visit: Visit) -> HTML {
        choices("machines", Set(((try? visit.machines()) ?? []).filter { $0.state != .retired }.map(\.name)))
    }

    private static func choices(_ id: String, _ names: Set<String>) -> HTML {
        let options: [HTML] = names.sorted().prefix(2_000).map { "<option value=\"\($0)\"></option>" }
        return "<datalist id=\"\(id)\">\(options)</datalist>"
    }

    private static func removal(_ name: String, isHeld: Bool, _ visit: Visit) -> HTML? {
        guard visit.may(.managePolicies) else { return nil }
        if isHeld {
            return "<p class=\"hint\">A policy can be removed when nobody has it any more.</p>"
        }
        return """
            <details class="card"><summary>Remove it</summary><form method="post" action="\(address(name))/remove">\(Piece.formToken(visit))
            <p>Its versions are kept: a policy of the same name goes on with them.</p>
            <label>Its name, to be sure<input name="name" autocomplete="off"></label><button>Remove \(name)</button></form></details>
            """
    }

    // MARK: Changes

    @Sendable private static func assign(_ visit: Visit) throws -> ServerAnswer {
        let book = try book(visit)
        let name = name(visit)
        let group = visit.form.text("group"), machine = visit.form.text("machine")
        if !group.isEmpty {
            try visit.note("policy.assigned", to: name, ["group": .string(group)])
            try book.assign(name, toGroup: group)
        } else if !machine.isEmpty {
            let found = try subject(named: machine, book)
            try visit.note("policy.assigned", to: name, ["machine": .string(found.name)])
            try book.place(found.machine, PlacementChange(policy: name))
        } else {
            throw HoldfastError(.usage, "Name a group or a machine.")
        }
        visit.core.policiesChanged()
        return .redirect(address(name) + "?done=assigned")
    }

    static func subject(named name: String, _ book: PolicyBook) throws -> PolicySubject {
        let found = try book.machines().filter { $0.name == name || $0.machine.hex == name }
        guard let first = found.first, found.count == 1 else {
            throw HoldfastError(
                found.isEmpty ? .notFound : .usage,
                found.isEmpty
                    ? "There is no machine \"\(TreePath.display(name.utf8))\"."
                    : "There are \(found.count) machines \"\(TreePath.display(name.utf8))\": give it on the page of the one that is meant."
            )
        }
        return first
    }

    @Sendable private static func release(_ visit: Visit) throws -> ServerAnswer {
        let book = try book(visit)
        let name = name(visit)
        let group = visit.form.text("group")
        if !group.isEmpty {
            try visit.note("policy.taken-away", to: name, ["group": .string(group)])
            try book.assign(nil, toGroup: group)
        } else {
            let machine = try visit.machine(visit.form.text("machine"))
            try visit.note("policy.taken-away", to: name, ["machine": .string(machine.name)])
            try book.place(machine.id, PlacementChange(policy: ""))
        }
        visit.core.policiesChanged()
        return .redirect(address(name) + "?done=assigned")
    }

    @Sendable private static func remove(_ visit: Visit) throws -> ServerAnswer {
        let book = try book(visit)
        let name = name(visit)
        guard visit.form.text("name") == name else {
            throw HoldfastError(
                .usage, "Nothing was removed: to remove the policy, type its name (\(name)) in the field beside it.")
        }
        try visit.note("policy.removed", to: name)
        try book.remove(name)
        visit.core.policiesChanged()
        return .redirect("/policies")
    }

    /// The groups, class and own policy of a machine.
    @Sendable private static func place(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        let book = try book(visit)
        let groups = visit.form.text("groups").split { ",; ".contains($0) }.map(String.init)
        let change = PlacementChange(
            machineClass: visit.form.text("class"), groups: groups, policy: visit.form.text("policy"))
        try visit.note(
            "machine.placed", to: machine.name,
            [
                "groups": .array(groups.map { .string($0) }), "class": .string(visit.form.text("class")),
                "policy": .string(visit.form.text("policy")),
            ])
        try book.place(machine.id, change)
        visit.core.policiesChanged()
        return .redirect("/machines/\(machine.id.hex)?done=placed")
    }
}

/// The revisions of a policy.
enum PolicyHistory {
    static func table(_ name: String, _ book: PolicyBook, _ visit: Visit) throws -> HTML {
        let revisions = try book.revisions(of: name)
        let rows: [HTML] = revisions.prefix(100).enumerated().map { index, revision in
            let address = "\(PolicyPages.address(name))/revisions/\(revision.revision)"
            return """
                <tr><th scope="row"><a href="\(address)">Version \(revision.revision)</a></th><td data-label="When">\(Piece.time(revision.time, now: visit.now))</td>
                <td data-label="By">\(revision.author)</td><td>\(index == 0 ? "holds now" : "")</td></tr>
                """
        }
        return """
            <section><h2>Versions</h2><table class="plain"><thead class="unseen"><tr><th scope="col">Version</th><th scope="col">When</th>\
            <th scope="col">By</th><th scope="col">Holds</th></tr></thead><tbody>\(rows)</tbody></table></section>
            """
    }

    @Sendable static func show(_ visit: Visit) throws -> ServerAnswer {
        let book = try PolicyPages.book(visit)
        let name = PolicyPages.name(visit)
        guard let number = Int64(visit.request.parameters["revision"] ?? ""), number > 0 else {
            throw HoldfastError(.notFound, "There is no such version.")
        }
        let revisions = try book.revisions(of: name)
        let this = try book.policy(name, revision: number)
        let newest = revisions.first?.revision ?? number
        let before = revisions.first { $0.revision < number }
        let change: HTML =
            try before.map { earlier in
                let text = try book.policy(name, revision: earlier.revision).text
                return "<h2>What it changed</h2>\(DifferenceView.show(text, this.text))"
            } ?? "<p class=\"hint\">It was the first.</p>"
        let back: HTML? =
            number != newest && visit.may(.managePolicies)
            ? """
            <form method="post" action="\(PolicyPages.address(name))/take-back" class="card narrow">\(Piece.formToken(visit))
            <input type="hidden" name="revision" value="\(number)"><p>Taking it back keeps what it says as a new version on top of the \
            others: nothing is lost.</p><button class="main">Take this version back</button></form>
            <h2>What taking it back would change</h2>\(DifferenceView.show(try book.policy(name, revision: nil).text, this.text))
            """ : nil
        return Layout.page(
            "Policy \(name), version \(number)", visit,
            """
            <p class="hint">By \(this.revision.author), \(Piece.time(this.revision.time, now: visit.now)). \
            <a href="\(PolicyPages.address(name))">\(number == newest ? "It holds now" : "Version \(newest) holds now")</a>.</p>
            \(change)\(back)<details class="card"><summary>All of it</summary><pre tabindex="0" class="code">\(this.text)</pre></details>
            """)
    }

    @Sendable static func takeBack(_ visit: Visit) throws -> ServerAnswer {
        let book = try PolicyPages.book(visit)
        let name = PolicyPages.name(visit)
        guard let number = visit.form.number("revision", in: 1...Int.max) else {
            throw HoldfastError(.notFound, "There is no such version.")
        }
        let old = try book.policy(name, revision: Int64(number))
        try visit.note("policy.taken-back", to: name, ["revision": .integer(Int64(number))])
        _ = try book.put(old.text, file: "\(name), version \(number)")
        visit.core.policiesChanged()
        return .redirect(PolicyPages.address(name) + "?done=saved")
    }
}
