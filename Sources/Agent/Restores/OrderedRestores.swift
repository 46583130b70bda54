package import Client
package import Model
import Platform
import Policy
package import Recovery
package import Vault

/// The work of one order, in two steps: finding out what would be done, and doing it.
package protocol RestoreWork: AnyObject, Sendable {
    /// Changes nothing. Throws `cancelled` after `stop`.
    func plan() throws -> RestoreOrderPlan
    /// Does it. Running it again goes on where it ended.
    func run() throws -> RestoreOrderResult
    /// From any thread.
    var progress: RestoreOrderProgress { get }
    func stop()
}

/// Carries out what the server orders, one after the other, on threads of its own: protection goes on meanwhile.
///
/// What this machine allows is asked anew before each plan and before each beginning. An order that has begun is written down, and
/// gone on with after the agent was killed; what came of it is kept until the server has heard it.
package final class OrderedRestores: Sendable {
    /// What it asks of others. All are called on its threads.
    package struct Means: Sendable {
        package var machine: MachineID
        package var consent: RestoreConsent
        /// The paths that the policy protects.
        package var protected: @Sendable () -> [[UInt8]]
        package var report: @Sendable (RestoreOrderReport, RestoreOrderID) throws -> RestoreOrderAnswer
        package var make: @Sendable (RestoreOrder, RestoreRequest.Destination) throws -> any RestoreWork
        /// Nanoseconds between two reports of progress.
        package var pace: Int64 = 1_500_000_000
        /// Nanoseconds to the first attempt after a failure of the way to the server; then ever more, up to 64 times that.
        package var pause: Int64 = 2_000_000_000

        package init(
            machine: MachineID, consent: RestoreConsent, protected: @escaping @Sendable () -> [[UInt8]],
            report: @escaping @Sendable (RestoreOrderReport, RestoreOrderID) throws -> RestoreOrderAnswer,
            make: @escaping @Sendable (RestoreOrder, RestoreRequest.Destination) throws -> any RestoreWork
        ) {
            self.machine = machine
            self.consent = consent
            self.protected = protected
            self.report = report
            self.make = make
        }
    }

    /// An order as this machine knows it.
    struct Task {
        var order: RestoreOrder
        /// Lines that were not sent yet, and the number of the first.
        var lines: [String] = []
        var firstLine: Int64
        /// Somebody on this machine does not want it.
        var isRefused = false
        /// Not before this, in nanoseconds of the monotonic clock.
        var due: Int64 = .min
        var failures = 0
        /// What came of it, until the server has heard it.
        var final: RestoreOrderReport?
        /// Where it has begun.
        var begun: [UInt8]?

        init(_ order: RestoreOrder) {
            self.order = order
            firstLine = order.machineLines + 1
        }
    }

    struct State {
        var tasks: [RestoreOrderID: Task] = [:]
        var current: (id: RestoreOrderID, work: (any RestoreWork)?)?
        var isStopping = false
        var isEnded = false
    }

    let means: Means
    let memory: RestoreMemory
    let state = Monitor(State())

    package init(_ means: Means, state directory: StateDirectory) {
        self.means = means
        memory = RestoreMemory(directory)
    }

    package func start() throws {
        state.update { state in
            for kept in memory.load() {
                var task = Task(kept.order)
                task.begun = kept.begun
                task.final = kept.final
                task.firstLine = kept.final?.firstLine ?? task.firstLine
                // The server says whether it goes on.
                if kept.final == nil { task.due = .max }
                state.tasks[kept.order.id] = task
            }
        }
        do throws(Errno) {
            // Nobody waits for long for its end: a question may wait on the server.
            _ = try WorkerThread(name: "restores", stack: 16 << 20) { [self] in
                run()
                state.update { $0.isEnded = true }
            }
        } catch {
            throw HoldfastError(.io, "ordered restores cannot be carried out: \(error)", cause: error)
        }
    }

    /// Ends, and waits for that for three seconds. What is under way is stopped where it is; the next start goes on with it.
    package func stop() {
        let work = state.update { state -> (any RestoreWork)? in
            state.isStopping = true
            return state.current?.work
        }
        work?.stop()
        state.waitUntil({ $0.isEnded }, nanoseconds: 3_000_000_000)
    }

    // MARK: What is wanted

    /// The orders that the server has for this machine now.
    package func update(_ orders: [RestoreOrder]) {
        let work = state.update { state -> (any RestoreWork)? in
            let known = Set(orders.map(\.id))
            for order in orders where order.wish.target == means.machine {
                var task = state.tasks[order.id] ?? Task(order)
                // What this machine has said meanwhile is newer than the list.
                let stands = max(Self.rank(task.order.state), Self.rank(order.state))
                let mine = task.order
                task.order = order
                if Self.rank(order.state) < stands { task.order.state = mine.state }
                task.order.plan = order.plan ?? mine.plan
                if task.due == .max {
                    // Begun by an earlier run of the agent: the server knows how many lines that has said.
                    task.due = .min
                    task.firstLine = order.machineLines + 1
                }
                state.tasks[order.id] = task
            }
            // What is not in the list any more has ended; what came of it is told all the same.
            for id in state.tasks.keys where !known.contains(id) && state.tasks[id]?.final == nil {
                if state.current?.id != id { forget(id, &state) }
            }
            guard let current = state.current else { return nil }
            let isWanted = known.contains(current.id) && state.tasks[current.id]?.order.isStopping == false
            return isWanted ? nil : current.work
        }
        work?.stop()
    }

    func forget(_ id: RestoreOrderID, _ state: inout State) {
        state.tasks[id] = nil
        memory.remove(id)
    }

    /// Somebody on this machine wants an order to end, or all of them.
    ///
    /// - Parameter text: the beginning of an id; `nil` for what runs or waits.
    /// - Returns: how many that were. Throws `notFound` when there is none.
    package func refuse(_ text: String?) throws -> Int {
        let (count, work) = state.update { state -> (Int, (any RestoreWork)?) in
            let ids = state.tasks.filter { id, task in
                task.final == nil && task.due != .max && (text.map { id.hex.hasPrefix($0.lowercased()) } ?? true)
            }.map(\.key)
            for id in ids { state.tasks[id]?.isRefused = true }
            return (ids.count, state.current.flatMap { ids.contains($0.id) ? $0.work : nil })
        }
        work?.stop()
        guard count > 0 else {
            throw HoldfastError(
                .notFound, text == nil ? "No restore is ordered on this machine." : "No such restore is ordered here.")
        }
        return count
    }

    private static func rank(_ state: RestoreOrder.State) -> Int {
        switch state {
        case .ordered: 0
        case .planning: 1
        case .planned: 2
        case .running: 3
        case .finished, .failed, .stopped, .refused, .expired: 4
        }
    }

    // MARK: For the socket

    /// What is ordered, and what is allowed, as an agent's fields.
    package var fields: [String: JSONValue] {
        let (tasks, progress) = state.withLock { state in
            (
                state.tasks.values.filter { $0.final == nil && $0.due != .max }.map(\.order),
                state.current.flatMap { current in current.work.map { (current.id, $0.progress) } }
            )
        }
        let rows = tasks.sorted { $0.created < $1.created }.map { order -> JSONValue in
            var row: [String: JSONValue] = [
                "order": .string(order.id.hex), "owner": .string(order.owner), "state": .string(order.state.rawValue),
                "created": .integer(order.created.nanoseconds), "paths": .integer(Int64(order.wish.paths.count)),
                "path": .string(order.wish.paths.first?.displayText ?? ""),
                "in_place": .bool(order.wish.destination == .inPlace), "elsewhere": .bool(order.wish.isElsewhere),
            ]
            if let (id, view) = progress, id == order.id {
                row["phase"] = .string(view.phase)
                row["files"] = .integer(Int64(clamping: view.files))
                row["bytes"] = .integer(Int64(clamping: view.bytes))
                row["total_bytes"] = .integer(Int64(clamping: view.totalBytes))
            }
            return .object(row)
        }
        return ["restores": .array(rows), "allowed": .string(allowed)]
    }

    /// What the server may have restored here, for people.
    private var allowed: String {
        do {
            let allowance = try means.consent.allowance()
            var parts: [String] = []
            if let folders = allowance.newFolders {
                parts.append("into new folders below \(TreePath.display(folders))")
            }
            if !allowance.restorePaths.isEmpty {
                parts.append("below \(allowance.restorePaths.map { TreePath.display($0) }.joined(separator: ", "))")
            }
            switch allowance.inPlace {
            case .nothing: break
            case .protected: parts.append("in place, all that the policy protects")
            case .paths(let paths):
                parts.append("in place below \(paths.map { TreePath.display($0) }.joined(separator: ", "))")
            }
            if parts.isEmpty { return "nothing" }
            return parts.joined(separator: "; ")
                + (allowance.otherMachines ? "; points of other machines too" : "; this machine's own points only")
        } catch {
            return "nothing: \((error as? HoldfastError)?.message ?? "\(error)")"
        }
    }

    // MARK: The thread

    private func run() {
        while true {
            var next: RestoreOrderID?
            let waiting = state.withLock { $0.tasks.values.contains { $0.due != .max } }
            // What failed on the way is due again at some time; without it nothing happens unasked.
            state.waitUntil(
                { state in
                    next = Self.next(&state)
                    return state.isStopping || next != nil
                }, nanoseconds: waiting ? 1_000_000_000 : 600_000_000_000)
            if state.withLock({ $0.isStopping }) { return }
            guard let next else { continue }
            perform(next)
            state.update { $0.current = nil }
        }
    }

    /// The oldest order about which something can be done now.
    private static func next(_ state: inout State) -> RestoreOrderID? {
        let now = SystemClock.monotonic
        let found = state.tasks.values.filter { $0.due <= now && isActionable($0) }.min {
            $0.order.created < $1.order.created
        }
        guard let found else { return nil }
        state.current = (found.order.id, nil)
        return found.order.id
    }

    private static func isActionable(_ task: Task) -> Bool {
        if task.final != nil || task.isRefused || task.order.isStopping { return true }
        switch task.order.state {
        case .ordered, .planning, .running: return true
        case .planned: return task.order.isConfirmed || !task.order.wish.asksFirst
        case .finished, .failed, .stopped, .refused, .expired: return false
        }
    }
}
