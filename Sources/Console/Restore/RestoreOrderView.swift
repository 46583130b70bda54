import Catalog
import Client
import Model
import Server
import Vault

/// An order as people see it.
enum RestoreOrderView {
    static func title(_ order: RestoreOrder) -> String {
        order.wish.kind == .undo ? "Take a restore back" : "Restore to a machine"
    }

    static func what(_ order: RestoreOrder) -> String {
        let first = order.wish.paths.first?.displayText ?? "/"
        return order.wish.paths.count > 1 ? "\(first) and \(order.wish.paths.count - 1) more" : first
    }

    private static func place(_ order: RestoreOrder) -> String {
        let told = order.result?.destination ?? order.plan?.destination
        switch order.wish.destination {
        case .inPlace: return "where it was"
        case .newFolder: return told ?? "a new folder"
        case .folder(let path): return TreePath.display(path)
        }
    }

    static func state(_ order: RestoreOrder, now: Timestamp) -> HTML {
        if order.isStopping, order.state.isOpen { return Piece.state("warn", "Stopping") }
        switch order.state {
        case .ordered: return Piece.state("ask", "Waits for the machine")
        case .planning: return Piece.state("ask", "Making the plan")
        case .planned:
            return order.isConfirmed || !order.wish.asksFirst
                ? Piece.state("ask", "About to begin") : Piece.state("warn", "Waits for your yes")
        case .running:
            return now.since(order.heard) > RestoreOrder.silence
                ? Piece.state("warn", "Running, but silent") : Piece.state("ask", "Running")
        case .finished:
            guard let result = order.result else { return Piece.state("good", "Done") }
            if result.failures > 0 { return Piece.state("bad", "Done, with failures") }
            return result.issueCount > 0 ? Piece.state("warn", "Done, with remarks") : Piece.state("good", "Done")
        case .failed: return Piece.state("bad", "Failed")
        case .stopped: return Piece.state("grey", "Stopped")
        case .refused: return Piece.state("bad", "Refused by the machine")
        case .expired: return Piece.state("grey", "Expired")
        }
    }

    private static func name(_ id: MachineID, _ visit: Visit) throws -> HTML {
        guard let machine = try visit.core.catalog.machine(id) else { return "\(String(id.hex.prefix(8)))" }
        return visit.may(.seeStates)
            ? "<a href=\"/machines/\(id.hex)\">\(machine.name)</a>" : "\(machine.name)"
    }

    /// All that changes while it goes on.
    static func show(_ order: RestoreOrder, _ visit: Visit) throws -> HTML {
        let lines = try visit.desk.log(of: order)
        let (source, target) = (try name(order.wish.source, visit), try name(order.wish.target, visit))
        let from: HTML? = order.wish.isElsewhere ? "<div><dt>From</dt><dd>\(source)</dd></div>" : nil
        let elapsed: HTML? = order.begun.map { begun in
            let end = order.ended ?? visit.now
            let word = order.ended == nil ? "Takes" : "Took"
            return "<div><dt>\(word)</dt><dd>\(Piece.span(max(end.since(begun), 0) / 1_000_000_000))</dd></div>"
        }
        let open = order.state.isOpen
        let refresh: HTML? =
            open ? "<p class=\"hint\" data-plain><a href=\"/restores/\(order.id.hex)\">Look again</a></p>" : nil
        let paths: [HTML] = order.wish.paths.prefix(50).map { "<li>\($0.displayText)</li>" }
        let rest: HTML? = order.wish.paths.count > 50 ? "<li>and \(order.wish.paths.count - 50) more</li>" : nil
        return """
            <div data-open="\(open ? "1" : "")"><dl class="facts card">
            <div><dt>How it stands</dt><dd role="status">\(state(order, now: visit.now))</dd></div>
            <div><dt>On</dt><dd>\(target)</dd></div>\(from)
            <div><dt>To</dt><dd class="path">\(place(order))</dd></div>
            <div><dt>Ordered by</dt><dd>\(order.owner)</dd></div>
            <div><dt>Ordered</dt><dd>\(Piece.time(order.created, now: visit.now))</dd></div>\(elapsed)</dl>
            \(message(order, visit))\(progress(order))\(result(order))\(plan(order))\(try buttons(order, visit))\(refresh)
            <details class="card"><summary>What: \(what(order))</summary><ul class="paths">\(paths)\(rest)</ul>
            <p class="hint">Of point \(String(order.wish.point.hex.prefix(8))). \(rule(order))</p></details>
            \(visit.may(.restore) ? "<section><h2>Log</h2>\(log(lines, visit))</section>" : .nothing as HTML)</div>
            """
    }

    private static func rule(_ order: RestoreOrder) -> String {
        var words: [String]
        switch order.wish.existing ?? (order.wish.destination == .inPlace ? .always : .rename) {
        case .rename: words = ["What is there is kept, and what is restored put beside it."]
        case .always: words = ["What is there is replaced."]
        case .newer: words = ["What is there is replaced when it is older."]
        case .never: words = ["What is there stays."]
        }
        if order.wish.deletesExtra { words.append("What was not there then is removed.") }
        if order.wish.verifies { words.append("Everything is read back at the end.") }
        return words.joined(separator: " ")
    }

    private static func message(_ order: RestoreOrder, _ visit: Visit) -> HTML {
        let hint: HTML? = order.hint.map { " \($0)" }
        switch order.state {
        case .failed, .refused:
            return "<p class=\"error\" role=\"alert\">\(order.message ?? "It did not work.")\(hint)</p>"
        case .stopped, .expired: return "<p class=\"note\">\(order.message ?? "It was stopped.")\(hint)</p>"
        case .ordered:
            let silent = visit.now.since(order.created) > 10_000_000_000
            return silent
                ? """
                <p class="note">The machine has not answered yet. Its agent hears of the order as soon as it is there; until \
                \(TimeText.localMinute(order.created.advanced(by: order.wish.patience * 1_000_000_000), in: visit.zone)) it is waited for.</p>
                """ : .nothing
        case .running where visit.now.since(order.heard) > RestoreOrder.silence:
            return """
                <p class="note">Nothing was heard of the machine since \(Piece.time(order.heard, now: visit.now)). It goes on by itself \
                when it is back; nothing is lost.</p>
                """
        case .planning, .planned, .running, .finished: return .nothing
        }
    }

    private static func progress(_ order: RestoreOrder) -> HTML {
        guard order.state == .running else { return .nothing }
        guard let progress = order.progress else { return "<section><p>The machine begins.</p></section>" }
        let phase =
            switch progress.phase {
            case "comparing": "Looking at what is there"
            case "keeping": "Keeping what will be replaced"
            default: "Restoring"
            }
        let done = min(progress.bytes, max(progress.totalBytes, 1))
        let bar: HTML =
            progress.totalBytes > 0 && progress.phase == "restoring"
            ? "<progress max=\"\(max(progress.totalBytes, 1))\" value=\"\(done)\" aria-label=\"How far it is\"></progress>"
            : "<progress aria-label=\"How far it is\"></progress>"
        let speed: HTML? =
            progress.bytesPerSecond > 0 ? " · \(Units.binarySize(progress.bytesPerSecond))/s" : nil
        let left: HTML? = progress.secondsLeft.map { " · \(Piece.span(max($0, 1))) left" }
        let total: HTML? = progress.totalBytes > 0 ? " of \(Units.binarySize(progress.totalBytes))" : nil
        return """
            <section><h2>\(phase)</h2>\(bar)<p class="figures">\(Units.count(progress.files, "file")) · \
            \(Units.binarySize(progress.bytes))\(total)\(speed)\(left)</p></section>
            """
    }

    private static func result(_ order: RestoreOrder) -> HTML {
        guard let result = order.result else { return .nothing }
        let counts: [(String, UInt64)] = [
            ("Files written", result.filesWritten), ("There already", result.filesUnchanged),
            ("Directories, links and others", result.othersWritten), ("Metadata set right", result.metadataOnly),
            ("Removed", result.removed), ("Left alone", result.kept), ("Put beside", result.renamed),
            ("Read back", result.verified), ("Could not be restored", result.failures),
        ]
        let rows: [HTML] = counts.filter { $0.1 > 0 }.map { name, count in
            "<div><dt>\(name)</dt><dd>\(Units.count(count))</dd></div>"
        }
        let way = order.wish.kind == .restore ? "; “Take it back” brings it back" : ""
        let before: HTML? = result.before.map {
            "<p class=\"hint\">What was replaced or removed is kept in point \(String($0.hex.prefix(8)))\(way).</p>"
        }
        let verdict: HTML =
            result.failures > 0
            ? "<p class=\"verdict bad\">Not everything could be restored</p>"
            : "<p class=\"verdict good\">\(order.wish.kind == .undo ? "It is taken back" : "It is restored")</p>"
        return """
            \(verdict)<section><h2>What was done</h2><dl class="facts"><div><dt>Written</dt>\
            <dd>\(Units.binarySize(result.bytesWritten))</dd></div>\(rows)</dl>\(before)\(issues(result.issues, result.issueCount))</section>
            """
    }

    private static func plan(_ order: RestoreOrder) -> HTML {
        guard let plan = order.plan, order.result == nil else { return .nothing }
        let rows: [HTML] = plan.actions.map { action in
            let samples: [HTML] = action.samples.map { "<li>\($0)</li>" }
            let more: HTML? =
                action.count > UInt64(action.samples.count) && !action.samples.isEmpty
                ? "<li>and \(Units.count(action.count - UInt64(action.samples.count))) more</li>" : nil
            let list: HTML? =
                action.samples.isEmpty
                ? nil : "<details><summary>Which</summary><ul class=\"paths\">\(samples)\(more)</ul></details>"
            let size: HTML? = action.bytes > 0 ? Piece.size(action.bytes) : nil
            return """
                <tr\(isGrave(action.name) ? " class=\"grave\"" as HTML : .nothing)><th scope="row">\(word(action.name))\(list)</th>
                <td class="number">\(Units.count(action.count))</td><td class="number">\(size)</td></tr>
                """
        }
        let goal: HTML? = order.wish.destination == .inPlace ? nil : "<p class=\"path\">To \(plan.destination)</p>"
        let room: HTML? =
            plan.lacksRoom
            ? """
            <p class="error" role="alert">\(Units.binarySize(plan.bytesToWrite)) would be written, and only \
            \(Units.binarySize(plan.freeBytes ?? 0)) are free there.</p>
            """ : nil
        let table: HTML =
            plan.actions.isEmpty
            ? "<p>Nothing: everything is there as it was.</p>"
            : """
            <table class="plain"><thead><tr><th>What</th><th class="number">How many</th><th class="number">Size</th></tr></thead>
            <tbody>\(rows)</tbody></table>
            """
        return """
            <section><h2>The plan</h2>\(goal)\(room)\(table)\(issues(plan.issues, plan.issueCount))</section>
            """
    }

    /// What somebody should look at twice.
    private static func isGrave(_ action: String) -> Bool { ["overwrite", "remove"].contains(action) }

    private static func word(_ action: String) -> String {
        switch action {
        case "create": "Made"
        case "directory": "Directories made"
        case "unchanged": "There already"
        case "metadata": "Owner, mode or times set right"
        case "overwrite": "Replaced"
        case "remove": "Removed"
        case "keep": "Left as they are"
        case "rename": "Put beside what is there"
        case "return": "Return as they were"
        default: action
        }
    }

    private static func issues(_ issues: [RestoreOrderIssue], _ count: UInt64) -> HTML {
        if count == 0 { return .nothing }
        let rows: [HTML] = issues.map { issue in
            "<li>\(issue.path.isEmpty ? .nothing : "<strong class=\"path\">\(issue.path)</strong> " as HTML)\(issue.text)</li>"
        }
        let more: HTML? =
            count > UInt64(issues.count) ? "<li>and \(Units.count(count - UInt64(issues.count))) more</li>" : nil
        return """
            <details><summary>\(Units.count(count, "remark"))</summary><ul class="paths">\(rows)\(more)</ul></details>
            """
    }

    private static func buttons(_ order: RestoreOrder, _ visit: Visit) throws -> HTML {
        guard try visit.desk.mayDecide(order) else { return .nothing }
        func button(_ action: String, _ word: String, isMain: Bool = false) -> HTML {
            """
            <form method="post" action="/restores/\(order.id.hex)/\(action)">\(Piece.formToken(visit))\
            <input type="hidden" name="plan" value="\(order.planNumber)">\
            <button\(isMain ? " class=\"main\"" as HTML : .nothing)>\(word)</button></form>
            """
        }
        if try visit.desk.mayUndo(order) {
            return "<div class=\"actions\">\(button("undo", "Take it back"))</div>"
        }
        guard order.state.isOpen else { return .nothing }
        let waits = order.state == .planned && order.wish.asksFirst && !order.isConfirmed
        let confirm: HTML? =
            waits && !order.isStopping ? button("confirm", "Carry it out", isMain: true) : nil
        let stop: HTML? = order.isStopping ? nil : button("stop", waits ? "Cancel" : "Stop")
        return "<div class=\"actions\">\(confirm)\(stop)</div>"
    }

    private static func log(_ lines: [RestoreOrderLine], _ visit: Visit) -> HTML {
        if lines.isEmpty { return "<p class=\"hint\">Nothing was said yet.</p>" }
        let text = lines.map { "\(TimeText.local($0.time, in: visit.zone))  \($0.text)" }.joined(separator: "\n")
        return "<pre class=\"log\" tabindex=\"0\">\(text)</pre>"
    }

    // MARK: In the list of jobs

    /// The restores that who asks may see, newest first.
    static func list(_ visit: Visit) throws -> HTML {
        guard Desk.restoreRights.contains(where: visit.may) else { return .nothing }
        let orders = try visit.desk.restoreOrders(newest: 50)
        if orders.isEmpty { return .nothing }
        let rows: [HTML] = try orders.map { order -> HTML in
            let target = try name(order.wish.target, visit)
            return """
                <tr><th scope="row"><a href="/restores/\(order.id.hex)">\(order.wish.kind == .undo ? "Take back: " : "")\(what(order))</a>\
                <small>\(order.owner)</small></th><td>\(target)<small>\(place(order))</small></td>
                <td>\(state(order, now: visit.now))</td><td>\(Piece.time(order.created, now: visit.now))</td></tr>
                """
        }
        return """
            <h2>Restores to machines</h2><table class="listing plainlinks"><thead><tr><th>What</th><th>To</th><th>How it stands</th>
            <th>Ordered</th></tr></thead><tbody>\(rows)</tbody></table>
            """
    }
}
