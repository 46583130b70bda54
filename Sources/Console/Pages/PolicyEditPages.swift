import Client
import Model
import Policy
import Server

/// Writing a policy: what is wrong with it, and what it would bring to whom, before it holds.
enum PolicyEditPages {
    static let all: [Page] = [
        .get("/policies-editor", "Writes a policy.", .right(.managePolicies), open),
        .post("/policies-editor", .right(.managePolicies), send),
    ]

    /// What somebody begins with.
    private static let template = """
        name: everything
        # What is kept safe. continuous: every version, within seconds; scheduled: at the times of the schedule.
        protect:
          - path: /home
          - path: /etc
          - path: /srv
            mode: scheduled
        schedule: daily 02:00
        exclude: [preset: temporary, preset: caches]
        # After what a machine is late.
        expected: every 24h
        # How many points stay.
        retention:
          default: {continuous: 24h, hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 3}

        """

    /// A text that somebody is writing.
    private struct Draft {
        var text: String
        /// The policy that is being changed; empty for a new one.
        var policy = ""
        /// The revision that it was begun from.
        var base: Int64 = 0
        /// Names of machines that it is to be shown for.
        var machines = ""
    }

    @Sendable private static func open(_ visit: Visit) throws -> ServerAnswer {
        let book = try PolicyPages.book(visit)
        let name = visit.query.text("policy")
        if name.isEmpty { return page(Draft(text: template), visit) }
        let known = try book.policy(name, revision: nil)
        var draft = Draft(text: known.text, policy: name, base: known.revision.revision)
        let line = visit.query.text("exclude")
        if !line.isEmpty, let changed = PolicyText.excluding(line, in: known.text) {
            draft.text = changed
            return try previewed(draft, book, visit)
        }
        return page(draft, visit)
    }

    @Sendable private static func send(_ visit: Visit) throws -> ServerAnswer {
        let book = try PolicyPages.book(visit)
        var draft = Draft(
            // Browsers send lines as they stand in mails.
            text: visit.form.text("text").replacing("\r\n", with: "\n"), policy: visit.form.text("policy"))
        draft.base = Int64(visit.form.number("base", in: 0...Int.max) ?? 0)
        draft.machines = visit.form.text("machines")
        let checked = book.check(draft.text)
        guard let policy = checked.value, checked.problems.isEmpty else {
            return page(draft, visit, problems: checked.problems)
        }
        if visit.form.text("do") != "save" { return try previewed(draft, book, visit) }
        if let problem = try clash(draft, policy.name, book) { return page(draft, visit, trouble: problem) }
        let before = try? book.policy(policy.name, revision: nil)
        try visit.note("policy.saved", to: policy.name)
        let kept = try book.put(draft.text, file: policy.name)
        visit.core.policiesChanged()
        let isSame = before?.revision.revision == kept.revision
        return .redirect(PolicyPages.address(policy.name) + (isSame ? "?done=same" : "?done=saved"))
    }

    /// Why it is not to be kept as it is: somebody else was faster, or the name is another's.
    private static func clash(_ draft: Draft, _ name: String, _ book: PolicyBook) throws -> HTML? {
        let known = try book.policies().first { $0.newest.name == name }?.newest
        if !draft.policy.isEmpty, name != draft.policy {
            guard known == nil else {
                return
                    "There is another policy \(name) already. Change that one, or choose another name; nothing was saved."
            }
            return nil
        }
        guard let known, known.revision != draft.base else { return nil }
        if draft.policy.isEmpty {
            return """
                There is a policy \(name) already. <a href="/policies-editor?policy=\(Address.encode(name))">Change that one</a>, or choose \
                another name; nothing was saved.
                """
        }
        return """
            \(known.author) has saved version \(known.revision) while you were writing; nothing of yours was saved. \
            <a href="\(PolicyPages.address(name))/revisions/\(known.revision)">See what changed</a>, put it into your text, and begin again from \
            <a href="/policies-editor?policy=\(Address.encode(name))">the newest version</a>.
            """
    }

    // MARK: The page

    private static func page(
        _ draft: Draft, _ visit: Visit, problems: [PolicyProblem] = [], trouble: HTML? = nil, preview: HTML? = nil
    ) -> ServerAnswer {
        let shownTrouble: HTML? = trouble.map { "<p class=\"error\" role=\"alert\">\($0)</p>" }
        let title = draft.policy.isEmpty ? "New policy" : "Change policy \(draft.policy)"
        let lines = max(min(draft.text.split(separator: "\n", omittingEmptySubsequences: false).count + 2, 40), 12)
        return Layout.page(
            title, visit, wide: true,
            """
            \(shownTrouble)\(wrong(problems, draft.text))\(preview)
            <form method="post" action="/policies-editor" class="editor">\(Piece.formToken(visit))
            <input type="hidden" name="policy" value="\(draft.policy)"><input type="hidden" name="base" value="\(draft.base)">
            <label>The policy, in YAML<textarea name="text" rows="\(lines)" spellcheck="false" autocapitalize="off" autocomplete="off" \
            class="code"\(problems.isEmpty ? .nothing : " aria-invalid=\"true\" aria-describedby=\"wrong\"")>
            \(draft.text)</textarea></label>
            <label>Show it for machines (names with commas between them; empty: all that have it)\
            <input name="machines" value="\(draft.machines)" autocapitalize="none"></label>
            <div class="actions"><button name="do" value="preview">Check it, and show what it would change</button>
            <button class="main" name="do" value="save">Save</button></div></form>
            <details class="card"><summary>What can be said</summary><table class="plain"><tbody>\(keys)</tbody></table>
            <p class="hint">Values of groups and machines come on top of each other: class, groups in their order, the machine's own. Lists are joined; \
            <code>!override</code> before a list puts it in the place of all others. The manual's page on policies says all of it.</p></details>
            """)
    }

    /// The mistakes, each with its line as it was written.
    private static func wrong(_ problems: [PolicyProblem], _ text: String) -> HTML? {
        if problems.isEmpty { return nil }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let rows: [HTML] = problems.map { problem in
            let number = problem.position.line
            let line = lines.indices.contains(number - 1) ? String(lines[number - 1].prefix(200)) : ""
            return """
                <li><strong>Line \(number), column \(problem.position.column)</strong> \(problem.sentence)\
                \(line.isEmpty ? .nothing : "<pre class=\"code\">\(number)  \(line)</pre>")</li>
                """
        }
        return """
            <section class="bad" id="wrong" role="alert"><h2>Nothing was saved: \(problems.count == 1 ? "one thing is" : "\(problems.count) things are") wrong</h2>
            <ul class="problems">\(rows)</ul></section>
            """
    }

    private static let keys: [HTML] = [
        ("protect", "what is kept safe: paths, each continuous or scheduled"),
        (
            "exclude",
            "what is left out: patterns as of a .gitignore, and presets: \(ExclusionPreset.allCases.map(\.rawValue).joined(separator: ", "))"
        ),
        ("schedule", "when scheduled paths are read: daily 02:00, weekly Sat 03:00, every 4h"),
        ("expected", "after what a machine is late: every 24h, every 2 days of use"),
        ("retention.default", "how many points stay: continuous, hourly, daily, weekly, monthly, yearly"),
        ("retention.rules", "the same for some files: {match: \"*.pst\", daily: 90}"),
        ("checkpoint", "points that stay longer: {on: [boot, package-change], keep: 30d}"),
        ("link.limits", "how fast it sends: [\"20Mbit/s Mon-Fri 08:00-18:00\"]"),
        (
            "spool, history",
            "room on the machine for what waits, and for the last days: {size: 10GB}, {duration: 72h, share: 10%}"
        ),
        ("settle", "quiet time before a file is read: {close: 1s, modify: 5s, longest: 60s}"),
        ("lockdown", "what the machine's user may not do: [pause, change-policy]"),
    ].map { "<tr><th scope=\"row\"><code>\($0.0)</code></th><td>\($0.1)</td></tr>" }

    // MARK: What it would change

    private static func previewed(_ draft: Draft, _ book: PolicyBook, _ visit: Visit) throws -> ServerAnswer {
        let names = draft.machines.split(separator: ",").map {
            String($0.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
        }.filter { !$0.isEmpty }
        do {
            let ids =
                names.isEmpty ? nil : try names.prefix(20).map { try PolicyPages.subject(named: $0, book).machine }
            let previews = try book.preview(draft.text, file: draft.policy, for: ids)
            return page(draft, visit, preview: show(previews, isChosen: ids != nil))
        } catch let error as HoldfastError where [.notFound, .usage].contains(error.code) {
            return page(draft, visit, trouble: "\(error.message)")
        }
    }

    /// Machines for which the same changes are shown together.
    static func show(_ previews: [PolicyPreview], isChosen: Bool) -> HTML {
        if previews.isEmpty {
            return """
                <section class="good" role="status"><h2>Nothing is wrong with it</h2><p>No machine has it yet, so nothing changes. Save it, and give it to a \
                group; or name a machine above to see what it would get.</p></section>
                """
        }
        var groups: [(before: String, after: String, members: [PolicyPreview])] = []
        for preview in previews {
            let before = preview.before?.yaml(name: "effective", origins: false) ?? ""
            let after = preview.after.yaml(name: "effective", origins: false)
            if let index = groups.firstIndex(where: { $0.before == before && $0.after == after }) {
                groups[index].members.append(preview)
            } else {
                groups.append((before, after, [preview]))
            }
        }
        let changed = previews.count(where: \.isChange)
        let parts: [HTML] = groups.sorted { $0.members.count > $1.members.count }.prefix(10).map { group in
            let names = group.members.prefix(8).map(\.name).joined(separator: ", ")
            let more = group.members.count > 8 ? " and \(group.members.count - 8) more" : ""
            let change: HTML =
                group.before == group.after
                ? "<p>Nothing changes here.</p>" : DifferenceView.show(group.before, group.after)
            return """
                <h3>\(names)\(more)</h3>\(change)<details><summary>All that would hold, and where each value comes from</summary>
                <pre tabindex="0" class="code">\(group.members[0].after.yaml())</pre></details>
                """
        }
        let limit: HTML? =
            previews.count == PolicyBook.mostPreviews
            ? "<p class=\"hint\">The first \(PolicyBook.mostPreviews) machines were looked at.</p>" : nil
        return """
            <section id="preview" role="status"><h2>What it would change: \(changed) of \(Units.count(previews.count, "machine"))</h2>\
            <p class="hint">Nothing is saved yet.</p>\(limit)\(parts)</section>
            """
    }
}

/// Small changes to the text of a policy that keep everything else as somebody wrote it.
enum PolicyText {
    /// The text with one more line in its list `exclude`. `nil` when the text is written so that only a person should change it.
    static func excluding(_ pattern: String, in text: String) -> String? {
        guard !pattern.contains("\n"), !pattern.isEmpty else { return nil }
        let item = "\"" + pattern.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard let index = lines.firstIndex(where: { $0.hasPrefix("exclude:") }) else {
            while lines.last == "" { lines.removeLast() }
            return (lines + ["exclude:", "  - \(item)", ""]).joined(separator: "\n")
        }
        let rest = lines[index].dropFirst("exclude:".count).drop { $0 == " " }
        if rest.isEmpty || rest.hasPrefix("#") || rest == "!override" {
            // The list goes on over the lines that follow; its items may be indented or not.
            let first = lines[(index + 1)...].first { !$0.isEmpty && !$0.drop { $0 == " " }.hasPrefix("#") } ?? ""
            let indent = first.drop { $0 == " " }.hasPrefix("-") ? String(first.prefix { $0 == " " }) : "  "
            lines.insert("\(indent)- \(item)", at: index + 1)
            return lines.joined(separator: "\n")
        }
        guard let end = lines[index].lastIndex(of: "]"), lines[index][end...].dropFirst().allSatisfy({ $0 == " " }),
            let begin = lines[index].firstIndex(of: "["), begin < end
        else { return nil }
        let isEmpty = lines[index][lines[index].index(after: begin)..<end].allSatisfy { $0 == " " }
        lines[index].insert(contentsOf: isEmpty ? item : ", \(item)", at: end)
        return lines.joined(separator: "\n")
    }
}
