import Client
import Model
import Platform
import Synchronization
import Vault

/// A restore on a machine, ordered through its server: what `holdfast restore --on` and `holdfast orders` do.
struct RestoreOrdering {
    let restores: RemoteRestores
    let session: VaultSession
    let console: Console

    /// Waits for what comes of an order, showing how far it is, until it has ended or waits for somebody.
    ///
    /// A signal stops the order on its machine; a second one only this program.
    func follow(_ begun: RestoreOrder) throws -> RestoreOrder {
        let restores = restores
        let latest = Mutex(begun)
        return try Watch.run(
            console, progress: { latest.withLock { $0 }.view },
            stop: { _ = try? restores.stop(begun.id) },
            {
                var line: Int64 = 0
                var order = begun
                while order.state.isOpen, !order.isWaiting {
                    // Short waits: a signal is answered soon.
                    let news = try restores.order(begun.id, after: line, wait: 2, known: order)
                    order = news.order
                    let shown = order
                    latest.withLock { $0 = shown }
                    for said in news.lines {
                        line = said.number
                        try console.emit("order_line", ["number": .integer(said.number), "text": .string(said.text)])
                    }
                }
                return order
            })
    }

    /// Says how an order stands, and ends the command accordingly.
    func show(_ order: RestoreOrder) throws -> ExitStatus {
        try console.emit("order", fields(order))
        if console.isJSON { return status(order) }
        try console.line("Order \(order.shortID): \(order.state.rawValue)")
        try console.line(
            "  \(paths(order)) of \(session.machineName(order.wish.source)), point \(order.wish.point.hex.prefix(8)), "
                + "on \(session.machineName(order.wish.target)) \(order.wish.place)")
        try console.line(
            "  ordered by \(TreePath.display(order.owner.utf8)), \(TimeText.local(order.created, in: console.zone))")
        if let plan = order.plan, order.result == nil { try show(plan) }
        if let result = order.result { try show(result) }
        if let message = order.message { try console.line("  \(TreePath.display(message.utf8))") }
        if let hint = order.hint { console.note("  \(TreePath.display(hint.utf8))") }
        if order.isWaiting {
            console.note(
                "`holdfast orders confirm \(order.shortID)` lets it begin, `holdfast orders stop \(order.shortID)` not."
            )
        }
        return status(order)
    }

    func show(_ plan: RestoreOrderPlan) throws {
        if plan.actions.isEmpty { return try console.line("  Nothing would be done in \(plan.destination).") }
        try console.line("  to \(plan.destination):")
        for action in plan.actions {
            let size = action.bytes > 0 ? ", \(Units.size(action.bytes))" : ""
            try console.line("  \(Units.count(action.count)) \(Self.words[action.name] ?? action.name)\(size)")
            guard ["overwrite", "remove", "return"].contains(action.name) else { continue }
            for path in action.samples.prefix(10) { try console.line("    \(path)") }
            if action.count > 10 { try console.line("    ... and \(Units.count(action.count - 10)) more") }
        }
        if plan.lacksRoom {
            console.warn(
                "\(Units.size(plan.bytesToWrite)) would be written, and \(Units.size(plan.freeBytes ?? 0)) are free there."
            )
        }
        try list(plan.issues, plan.issueCount)
    }

    /// What a plan's actions are called; see `RestoreView.show`.
    static let words = [
        "create": "made", "directory": "directories made", "metadata": "get their metadata back",
        "overwrite": "replaced", "remove": "removed", "keep": "stay as they are", "rename": "put beside what is there",
        "unchanged": "are there already", "return": "return as they were",
    ]

    private func show(_ result: RestoreOrderResult) throws {
        try console.line(
            "  \(Units.count(result.filesWritten, "file")) written (\(Units.size(result.bytesWritten))) to \(result.destination), "
                + "\(Units.count(result.filesUnchanged)) were there already, in \(Units.span(nanoseconds: result.milliseconds * 1_000_000))."
        )
        if let before = result.before {
            try console.line("  What was replaced or removed is in point \(before.hex.prefix(8)).")
        }
        try list(result.issues, result.issueCount)
    }

    private func list(_ issues: [RestoreOrderIssue], _ count: UInt64) throws {
        for issue in issues.prefix(20) {
            console.note("  \(issue.path.isEmpty ? "" : issue.path + ": ")\(TreePath.display(issue.text.utf8))")
        }
        if count > 20 { console.note("  ... and \(Units.count(count - 20)) more.") }
    }

    private func paths(_ order: RestoreOrder) -> String {
        let first = order.wish.paths.first?.displayText ?? "/"
        return order.wish.paths.count > 1 ? "\(first) and \(Units.count(order.wish.paths.count - 1)) more" : first
    }

    private func status(_ order: RestoreOrder) -> ExitStatus {
        switch order.state {
        case .finished:
            guard let result = order.result else { return .done }
            return result.failures > 0 ? .failed : result.issueCount > 0 ? .warnings : .done
        case .failed, .stopped, .refused, .expired: return .failed
        case .ordered, .planning, .planned, .running: return .done
        }
    }

    func fields(_ order: RestoreOrder) -> [String: JSON] {
        var fields: [String: JSON] = [
            "order": .id(order.id), "kind": .string(order.wish.kind.rawValue), "state": .string(order.state.rawValue),
            "owner": .string(order.owner), "created": .time(order.created), "point": .id(order.wish.point),
            "source": .id(order.wish.source), "source_name": .string(session.machineName(order.wish.source)),
            "machine": .id(order.wish.target), "machine_name": .string(session.machineName(order.wish.target)),
            "paths": .strings(order.wish.paths.map(\.displayText)), "to": .string(order.wish.place),
            "confirmed": .bool(order.isConfirmed),
        ]
        if let message = order.message { fields["message"] = .string(message) }
        if let plan = order.plan {
            fields["destination"] = .string(plan.destination)
            fields["bytes_to_write"] = .count(plan.bytesToWrite)
            for action in plan.actions {
                fields["plan_\(action.name)"] = .object([
                    "count": .count(action.count), "bytes": .count(action.bytes), "samples": .strings(action.samples),
                ])
            }
        }
        if let result = order.result {
            fields["files_written"] = .count(result.filesWritten)
            fields["bytes_written"] = .count(result.bytesWritten)
            fields["files_unchanged"] = .count(result.filesUnchanged)
            fields["removed"] = .count(result.removed)
            fields["issues"] = .count(result.issueCount)
            fields["destination"] = .string(result.destination)
            fields["undo"] = .bool(result.canBeUndone)
        }
        return fields
    }

    /// Throws unless somebody at the terminal agrees.
    static func ask(_ order: RestoreOrder) throws -> Bool {
        let answer: [UInt8]
        do {
            let terminal = try FileDescriptor.open("/dev/tty", .readWrite)
            try terminal.writeAll(Array("Carry this out? [y/N] ".utf8))
            let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 1)
            defer { room.deallocate() }
            answer = Array(room[..<(try terminal.read(into: room))])
        } catch {
            throw HoldfastError(
                .usage, "The plan waits for somebody to agree to it, and there is no terminal to ask at.",
                context: [
                    "hint":
                        "`holdfast orders confirm \(order.shortID)` lets it begin, `holdfast orders stop \(order.shortID)` not; "
                        + "--yes does not ask."
                ])
        }
        return answer.first == UInt8(ascii: "y") || answer.first == UInt8(ascii: "Y")
    }
}

extension RestoreOrder {
    /// As the display wants it.
    var view: Progress {
        switch state {
        case .running:
            var view = Progress(phase: progress?.phase ?? "restoring")
            view.files = progress?.files ?? 0
            view.bytes = progress?.bytes ?? 0
            if let total = progress?.totalBytes, total > 0 { view.totalBytes = total }
            return view
        case .ordered: return Progress(phase: "waiting for the machine")
        default: return Progress(phase: "planning")
        }
    }
}

extension RestoreWish {
    /// Where it goes, for people.
    var place: String {
        switch destination {
        case .inPlace: kind == .undo ? "taken back" : "in place"
        case .newFolder: "in a new folder"
        case .folder(let path): "to \(TreePath.display(path))"
        }
    }
}

extension VaultSession {
    /// Orders of the server, for a person.
    func restores() throws -> RemoteRestores {
        guard let connection = try orderingConnection() else {
            throw HoldfastError(
                .keyNeeded, "Restores on machines are ordered through their server, by a person with an access code.",
                context: [
                    "hint":
                        "Name the server with --vault, and with --token-file a file with the code that "
                        + "`holdfast server access --role administrator --name NAME` prints there."
                ])
        }
        return RemoteRestores(connection)
    }
}
