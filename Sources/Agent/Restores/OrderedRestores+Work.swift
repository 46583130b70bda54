import Client
import Model
import Platform
import Recovery
import Synchronization
import Vault

/// One order, step by step.
extension OrderedRestores {
    /// The server says that an order has ended, or that it is none of this machine's.
    private struct Ended: Error {}

    func perform(_ id: RestoreOrderID) {
        guard let task = state.withLock({ $0.tasks[id] }) else { return }
        do {
            if task.final != nil { return try deliver(id) }
            if task.isRefused { return try refuse(id) }
            if task.order.isStopping { return try conclude(id, RestoreOrderReport(state: .stopped)) }
            switch task.order.state {
            case .ordered, .planning: try plan(id)
            case .planned, .running: try carryOut(id, task)
            case .finished, .failed, .stopped, .refused, .expired: break
            }
        } catch is Ended {
            state.update { forget(id, &$0) }
        } catch {
            fail(id, error)
        }
    }

    private func refuse(_ id: RestoreOrderID) throws {
        var report = RestoreOrderReport(state: .refused)
        report.message = "Refused on the machine."
        try conclude(id, report)
    }

    /// What went wrong: on the way to the server it is tried again, for as long as the order holds; else it is the end.
    private func fail(_ id: RestoreOrderID, _ error: any Error) {
        let told = error as? HoldfastError ?? HoldfastError(.internalError, "The agent failed at this: \(error)")
        let (isStopping, task) = state.withLock { ($0.isStopping, $0.tasks[id]) }
        // The next start of the agent goes on.
        if isStopping { return }
        guard let task else { return }
        do {
            if task.isRefused { return try refuse(id) }
            if told.code == .cancelled || task.order.isStopping {
                return try conclude(id, RestoreOrderReport(state: .stopped))
            }
            if told.isTemporary || told.code == .leaseLost {
                say("\(told.message) It is tried again.", of: id)
                return later(id)
            }
            var report = RestoreOrderReport(state: told.code == .forbidden ? .refused : .failed)
            report.message = told.message
            report.hint = told.context["hint"]
            try conclude(id, report)
        } catch is Ended {
            state.update { forget(id, &$0) }
        } catch {
            later(id)
        }
    }

    private func later(_ id: RestoreOrderID) {
        state.update { state in
            guard var task = state.tasks[id] else { return }
            let pause = means.pause << min(Int64(task.failures), 6)
            task.failures += 1
            task.due = SystemClock.monotonic + pause / 2 + Int64.random(in: 0...max(pause / 2, 1))
            state.tasks[id] = task
        }
    }

    // MARK: Steps

    private func plan(_ id: RestoreOrderID) throws {
        let order = try send(RestoreOrderReport(state: .planning), of: id)
        let destination = try allowed(id)
        let work = try means.make(order, destination)
        try begin(id, work)
        var report = RestoreOrderReport(state: .planned)
        let plan = try work.plan()
        report.plan = plan
        if plan.lacksRoom, !order.wish.asksFirst {
            throw HoldfastError(
                .noSpace,
                "\(Units.binarySize(plan.bytesToWrite)) would be written to \(plan.destination), and \(Units.binarySize(plan.freeBytes ?? 0)) "
                    + "are free there. Nothing was changed.")
        }
        say(Self.words(plan, order.wish), of: id)
        try send(report, of: id)
    }

    private static func words(_ plan: RestoreOrderPlan, _ wish: RestoreWish) -> String {
        let parts = plan.actions.map { "\(word($0.name)) \(Units.count($0.count))" }.joined(separator: ", ")
        let first = wish.paths.first?.displayText ?? "/"
        let more = wish.paths.count > 1 ? " and \(Units.count(wish.paths.count - 1)) more" : ""
        let place = wish.destination == .inPlace ? "" : ", to \(plan.destination)"
        return "Plan for \(first)\(more)\(place): \(parts.isEmpty ? "nothing" : parts)"
            + (plan.issueCount > 0 ? "; \(Units.count(plan.issueCount, "remark"))." : ".")
    }

    /// As the page of the order calls it.
    private static func word(_ action: String) -> String {
        switch action {
        case "create": "made"
        case "directory": "directories made"
        case "unchanged": "there already"
        case "metadata": "owner, mode or times set right"
        case "overwrite": "replaced"
        case "remove": "removed"
        case "keep": "left as they are"
        case "rename": "put beside what is there"
        case "return": "return as they were"
        default: action
        }
    }

    private func carryOut(_ id: RestoreOrderID, _ task: Task) throws {
        let destination = try allowed(id)
        guard let order = state.withLock({ $0.tasks[id]?.order }) else { return }
        try memory.keep(.init(order: order, begun: destination.root, final: nil))
        state.update { $0.tasks[id]?.begun = destination.root }
        let isAgain = task.begun != nil
        say(isAgain ? "The machine goes on with it." : "The machine begins.", of: id)
        try send(RestoreOrderReport(state: .running), of: id)
        try means.consent.make(destination)
        let work = try means.make(order, destination)
        try begin(id, work)
        let watch = try Watch(self, id, work)
        defer { watch.end() }
        let result = try work.run()
        watch.end()
        var report = RestoreOrderReport(state: .finished)
        report.result = result
        report.progress = work.progress
        say(
            "Done: \(Units.count(result.filesWritten, "file")) written, \(Units.binarySize(result.bytesWritten)), "
                + "\(Units.count(result.filesUnchanged)) were there already.", of: id)
        for issue in result.issues.prefix(20) {
            say(issue.path.isEmpty ? issue.text : "\(issue.path): \(issue.text)", of: id)
        }
        try conclude(id, report)
    }

    /// Where the order may be carried out. Throws `forbidden` when this machine does not allow it.
    private func allowed(_ id: RestoreOrderID) throws -> RestoreRequest.Destination {
        guard let task = state.withLock({ $0.tasks[id] }) else { throw Ended() }
        let day = TimeText.rfc3339(task.order.created).prefix(10)
        return try means.consent.destination(
            of: task.order.wish, named: "\(day)-\(task.order.shortID)", protected: means.protected(),
            own: means.machine, begun: task.begun)
    }

    /// From here on the work can be stopped. Throws `cancelled` when somebody has wanted that already.
    private func begin(_ id: RestoreOrderID, _ work: any RestoreWork) throws {
        let goesOn = state.update { state -> Bool in
            guard let task = state.tasks[id], !state.isStopping, !task.isRefused, !task.order.isStopping else {
                return false
            }
            state.current = (id, work)
            return true
        }
        if !goesOn { throw HoldfastError(.cancelled, "The restore was stopped.") }
    }

    // MARK: What is said

    func say(_ line: String, of id: RestoreOrderID) {
        state.update { state in
            guard var task = state.tasks[id], task.lines.count < RestoreOrderReport.maximumLines,
                task.lines.last != line
            else { return }
            task.lines.append(line)
            state.tasks[id] = task
        }
    }

    /// Tells the server; answers the order as it stands then. Throws `Ended` when it is none that goes on.
    @discardableResult
    private func send(_ report: RestoreOrderReport, of id: RestoreOrderID) throws -> RestoreOrder {
        var report = report
        guard let task = state.withLock({ $0.tasks[id] }) else { throw Ended() }
        report.lines = task.lines
        report.firstLine = task.firstLine
        let answer: RestoreOrderAnswer
        do { answer = try means.report(report, id) } catch let error as HoldfastError
            where error.code == .forbidden || error.code == .notFound
        {
            throw Ended()
        }
        return try state.update { state in
            guard var task = state.tasks[id] else { throw Ended() }
            task.lines.removeFirst(min(report.lines.count, task.lines.count))
            task.firstLine += Int64(report.lines.count)
            task.failures = 0
            task.order.state = answer.state
            task.order.isConfirmed = answer.isConfirmed
            task.order.isStopping = task.order.isStopping || answer.isStopping
            task.order.plan = report.plan ?? task.order.plan
            state.tasks[id] = task
            return task.order
        }
    }

    /// What came of it: kept until the server has heard it.
    private func conclude(_ id: RestoreOrderID, _ report: RestoreOrderReport) throws {
        let kept = state.update { state -> RestoreMemory.Kept? in
            guard var task = state.tasks[id] else { return nil }
            var final = report
            final.lines = task.lines
            final.firstLine = task.firstLine
            task.final = final
            task.failures = 0
            state.tasks[id] = task
            return RestoreMemory.Kept(order: task.order, begun: task.begun, final: final)
        }
        guard let kept else { return }
        // When it cannot be kept, it is at least told.
        try? memory.keep(kept)
        try deliver(id)
    }

    private func deliver(_ id: RestoreOrderID) throws {
        guard let final = state.withLock({ $0.tasks[id]?.final }) else { return }
        do { _ = try means.report(final, id) } catch let error as HoldfastError
            where error.code == .forbidden || error.code == .notFound
        {
            throw Ended()
        } catch {
            return later(id)
        }
        state.update { forget(id, &$0) }
    }

    // MARK: While it runs

    /// Tells the server how far a restore is, and stops it when the server says so.
    private final class Watch: Sendable {
        private let done = Monitor(false)
        private let thread = Mutex<WorkerThread?>(nil)

        init(_ restores: OrderedRestores, _ id: RestoreOrderID, _ work: any RestoreWork) throws {
            let done = done
            let pace = restores.means.pace
            do throws(Errno) {
                let worker = try WorkerThread(name: "restore-report") {
                    var last = (time: SystemClock.monotonic, bytes: UInt64(0))
                    var speed: UInt64 = 0
                    while !done.waitUntil({ $0 }, nanoseconds: pace) {
                        var progress = work.progress
                        let now = SystemClock.monotonic
                        let elapsed = max(now - last.time, 1)
                        let step = Double(progress.bytes &- min(last.bytes, progress.bytes)) / (Double(elapsed) / 1e9)
                        // Half of it is what was before: it does not jump.
                        speed = speed == 0 ? UInt64(step) : (speed + UInt64(step)) / 2
                        last = (now, progress.bytes)
                        progress.bytesPerSecond = speed
                        var report = RestoreOrderReport()
                        report.progress = progress
                        do {
                            if try restores.send(report, of: id).isStopping { work.stop() }
                        } catch is Ended {
                            restores.state.update { $0.tasks[id]?.order.isStopping = true }
                            return work.stop()
                        } catch {
                            // The restore itself finds out whether the server is away.
                        }
                    }
                }
                thread.withLock { $0 = worker }
            } catch {
                throw HoldfastError(.busy, "There is no room for another thread.", cause: error, isTemporary: true)
            }
        }

        func end() {
            done.update { $0 = true }
            thread.withLock { thread in
                defer { thread = nil }
                return thread
            }?.join()
        }
    }
}
