package import Catalog
package import Client
import Model
import Synchronization
import Vault

/// Orders to restore something on machines: who may be told what to do, what machines say of it, and when one ends.
///
/// The rules of an order are `RestoreOrder`'s; here it is kept. Whoever calls has looked at the rights of who asks.
package final class RestoreOrderBook: Sendable {
    /// Open orders of one machine.
    package static let mostOpen = 64
    /// Orders of one machine that are remembered.
    static let kept = 1_000
    /// Open orders that a person of self-service may have on a machine, and all such persons together: others always find room.
    static let mostOwn = 8
    static let mostOfPersons = mostOpen / 2

    private let catalog: any ServerCatalog
    private let audit: AuditLog
    private let clock: @Sendable () -> Timestamp
    /// Since when machines can be heard; set when the server begins to serve.
    private let listening = Mutex<Timestamp?>(nil)

    init(_ catalog: any ServerCatalog, clock: @escaping @Sendable () -> Timestamp) {
        self.catalog = catalog
        self.clock = clock
        audit = AuditLog(catalog, clock: clock)
    }

    private static func order(_ row: RestoreRow) throws -> RestoreOrder { try RestoreOrder.decode(row.document) }

    /// - Parameter body: changes the order, and answers lines for its log.
    private func change(
        _ id: RestoreOrderID, _ body: (inout RestoreOrder) throws -> [String]
    ) throws -> RestoreOrder {
        let row = try catalog.changeRestore(JobID(id), at: clock()) { row in
            var order = try Self.order(row)
            let room = max(RestoreOrderReport.keptLines - order.lines, 0)
            let lines = try body(&order).prefix(Int(clamping: room))
            order.lines += Int64(lines.count)
            row.isOpen = order.state.isOpen
            row.document = order.encoded()
            // What cannot be read again is never written down.
            _ = try Self.order(row)
            return Array(lines)
        }
        return try Self.order(row)
    }

    // MARK: What people do

    /// Adds an order.
    ///
    /// - Parameters:
    ///   - owner: who wants it, for people.
    ///   - account: theirs; `nil` when it is none.
    ///   - isOwn: a person of self-service wants it.
    /// - Throws: `busy` when the machine has too many.
    package func add(
        _ wish: RestoreWish, by owner: String, account: AccountID? = nil, isOwn: Bool = false
    ) throws -> RestoreOrder {
        var order = RestoreOrder(id: .random(), wish: wish, owner: owner, created: clock())
        order.account = account?.hex
        try catalog.forgetRestores(keeping: Self.kept)
        let isAdded = try catalog.add(
            RestoreRow(
                id: JobID(order.id), target: wish.target, source: wish.source, point: wish.point,
                created: order.created, account: account, isOpen: true, document: order.encoded()),
            openAtMost: isOwn ? Self.mostOfPersons : Self.mostOpen, ofAccount: isOwn ? Self.mostOwn : nil)
        guard isAdded else {
            throw HoldfastError(
                .busy,
                isOwn
                    ? "Too many restores wait for this machine already, \(Self.mostOwn) of yours at most; stop some of them first."
                    : "\(Self.mostOpen) restores wait for this machine already; stop some of them first.",
                isTemporary: true)
        }
        return order
    }

    func confirm(_ id: RestoreOrderID, seen: Int64?, by who: String) throws -> RestoreOrder {
        try change(id) { order in
            let before = order.revision
            try order.confirm(seen: seen)
            return order.revision == before ? [] : ["\(who) agreed to the plan."]
        }
    }

    func stop(_ id: RestoreOrderID, by who: String) throws -> RestoreOrder {
        let now = clock()
        return try change(id) { order in
            let before = order.revision
            try order.stop(by: who, at: now)
            return order.revision == before ? [] : ["\(who) wants it to stop."]
        }
    }

    static let unknown = HoldfastError(.notFound, "There is no such order.")

    package func order(_ id: RestoreOrderID) throws -> RestoreOrder? { try catalog.restore(JobID(id)).map(Self.order) }

    /// The newest, newest first. One that cannot be read takes no other with it.
    package func newest(_ count: Int, _ which: RestoreSelection = .all) throws -> [RestoreOrder] {
        try catalog.restores(newest: count, which).compactMap { try? Self.order($0) }
    }

    package func log(of id: RestoreOrderID, after number: Int64 = 0, limit: Int = 2_000) throws -> [RestoreOrderLine] {
        try catalog.restoreLog(of: JobID(id), after: number, limit: limit).map {
            RestoreOrderLine(number: $0.number, time: $0.time, text: $0.text)
        }
    }

    // MARK: What machines do

    /// What a machine is to do or does, as many as it is told at once: what it can go on with before what waits for somebody's yes,
    /// the oldest first.
    func open(of machine: MachineID) throws -> [RestoreOrder] {
        let open = try catalog.openRestores(target: machine).compactMap { try? Self.order($0) }.filter {
            try isWantedStill($0) == nil
        }
        let (waiting, ready) = (open.filter(\.isWaiting), open.filter { !$0.isWaiting })
        return Array((ready + waiting).prefix(MachineOrders.maximumRestores))
    }

    /// Why nobody wants an order any more: whoever wanted it is gone, or could not order it today. `nil` when it goes on.
    private func isWantedStill(_ order: RestoreOrder) throws -> String? {
        guard let id = order.account.flatMap({ AccountID(hex: $0) }) else { return nil }
        guard let account = try catalog.account(id), !account.isDisabled else {
            return "The account that ordered it is gone or disabled."
        }
        let mayNow = try Desk.mayStillOrder(order.wish, Person(account)) { try catalog.machine($0) }
        return mayNow ? nil : "\(account.name) may not order this any more."
    }

    /// A machine says how an order of its own stands. Throws `notFound` for one of another's, as for none.
    func take(_ report: RestoreOrderReport, of id: RestoreOrderID, from machine: MachineID) throws -> RestoreOrderAnswer
    {
        let now = clock()
        var ended: RestoreOrder?
        let order = try change(id) { order in
            guard order.wish.target == machine else { throw Self.unknown }
            try order.take(report, at: now)
            if !order.state.isOpen { ended = order }
            return order.newLines(of: report)
        }
        if let ended { try? noteEnd(ended, by: machine) }
        return RestoreOrderAnswer(order)
    }

    private func noteEnd(_ order: RestoreOrder, by machine: MachineID) throws {
        let name = try catalog.machine(machine)?.name ?? machine.hex
        try audit.note(
            "restore.\(order.state.rawValue)", by: "machine \(name)", from: "", to: name,
            succeeded: order.state == .finished,
            ["order": .string(order.id.hex), "point": .string(order.wish.point.hex)])
    }

    // MARK: What follows from it

    /// Whether a machine may open another's point: an order for it goes on.
    func lets(_ machine: MachineID, read points: Set<PointID>) throws -> Bool {
        if points.isEmpty { return true }
        let open = try catalog.openRestores(target: machine)
        return points.isSubset(of: open.map(\.point))
    }

    /// Whether a machine may see the records of another, to check who signed the points of an order.
    func lets(_ machine: MachineID, seeRecordsOf other: MachineID) throws -> Bool {
        try catalog.openRestores(target: machine).contains { $0.source == other }
    }

    /// Points that are wanted: no rule deletes them meanwhile.
    func pointsInUse() throws -> Set<PointID> { Set(try catalog.openRestores(target: nil).map(\.point)) }

    /// The server can be heard from now on.
    func listen() { listening.withLock { $0 = clock() } }

    /// Ends what nobody has heard of for too long, and what is for machines that are not there any more.
    ///
    /// - Returns: whether something has changed.
    func sweep() -> Bool {
        guard let since = listening.withLock({ $0 }) else { return false }
        let now = clock()
        var hasChanged = false
        // What cannot be written down now is found again the next time.
        for row in (try? catalog.openRestores(target: nil)) ?? [] {
            guard let known = try? Self.order(row) else {
                // Nobody can go on with what cannot be read: its point is not kept for it, and no room is taken.
                _ = try? catalog.changeRestore(row.id, at: now) { row in
                    row.isOpen = false
                    return []
                }
                continue
            }
            var order = known
            if let why = (try? isWantedStill(known)) ?? nil { order.end(.stopped, why, at: now) }
            if (try? catalog.machine(row.target)) ?? nil == nil || isRetired(row.target) {
                order.end(
                    .failed, "The machine is not enrolled here any more.",
                    hint: "Order it for another machine, or let this one in again.", at: now)
            }
            order.expire(at: now, listeningSince: since)
            guard order != known else { continue }
            let id = known.id
            let changed = try? change(id) { current in
                // A report that came between the two counts.
                guard current == known else { return [] }
                current = order
                return order.message.map { [$0] } ?? []
            }
            guard let changed, !changed.state.isOpen else { continue }
            hasChanged = true
            try? audit.note(
                "restore.\(changed.state.rawValue)", by: "the server", from: "", to: changed.wish.target.hex,
                succeeded: false, ["order": .string(id.hex)])
        }
        return hasChanged
    }

    private func isRetired(_ machine: MachineID) -> Bool {
        ((try? catalog.machine(machine)) ?? nil).map { $0.state == .retired } ?? false
    }
}

extension JobID {
    init(_ id: RestoreOrderID) { self.init(high: id.high, low: id.low) }
}
