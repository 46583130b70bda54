import Browsing
import Catalog
package import Client
package import Model
import Vault

/// Restores on machines: orders of people for machines of theirs.
///
/// Whoever may restore sees the orders of their machines and agrees to them; where both machines are not the same it takes the right
/// for other places. Whoever has files of their own has them put into a new folder on the same machine, sees orders of their own
/// alone, and of what is in directories only numbers: see `ownView`.
extension Desk {
    /// One of them is needed for anything here.
    package static let restoreRights: [AccountRight] = [.restore, .seeOwn]

    package static let noOrder = HoldfastError(.notFound, "There is no such order.")
    package static let notElsewhere = HoldfastError(
        .denied, "Your account may restore to the machine that the files came from, and not to another.")
    private static let ownPlaceOnly = HoldfastError(
        .denied, "Your account may have your own files put into a new folder on their machine, and nothing else.")

    private var isForOwnOnly: Bool { !person.may(.restore) }

    private func requireRestores() throws {
        guard Self.restoreRights.contains(where: person.may) else { throw ServerCore.notForYou }
    }

    // MARK: Orders

    /// Orders a restore.
    ///
    /// - Throws: `denied`; `notFound` for a machine, point or path that is not there or not theirs; `keyNeeded` where the server
    ///   cannot open the vault; `usage` for what cannot be meant; `busy` when the machine has too many.
    package func orderRestore(_ wish: RestoreWish) throws -> RestoreOrder {
        try requireRestores()
        var wish = try made(wish)
        try wish.check()
        let source = try machine(wish.source.hex)
        let target = wish.isElsewhere ? try machine(wish.target.hex) : source
        guard !wish.isElsewhere || person.may(.restoreElsewhere) else { throw Self.notElsewhere }
        guard core.keys != nil else {
            throw HoldfastError(
                .keyNeeded,
                "This vault is owner-only: its server cannot give a machine the key of a point.",
                context: ["hint": "Restore on the machine: holdfast restore PATH@TIME --to DIR."])
        }
        guard target.state == .active else {
            throw HoldfastError(
                .notFound, "The machine that is to restore is not enrolled here.",
                context: ["machine": wish.target.hex])
        }
        guard try core.vault.owners(of: [wish.point])[wish.point] == wish.source else { throw MachineFiles.pointGone }
        if isForOwnOnly { try requireOwn(wish, of: source) }
        try note(
            wish.kind == .undo ? "restore.undo-ordered" : "restore.ordered", to: target.name,
            [
                "point": .string(wish.point.hex), "source": .string(wish.source.hex),
                "paths": .array(wish.paths.prefix(100).map { .string($0.displayText) }),
                "count": .integer(Int64(wish.paths.count)), "to": wish.members["to"] ?? .null,
            ])
        wish.patience = isForOwnOnly ? min(wish.patience, RestoreWish.usualPatience) : wish.patience
        let order = try core.restores.add(wish, by: person.name, account: person.account, isOwn: isForOwnOnly)
        core.bell.ring(keepsPolicies: true)
        return order
    }

    /// What somebody has restored for themselves takes nothing's place, and is nothing that they could not read at its time. In a new
    /// folder everything has the owner and the mode that it had: what was closed to them in a directory of theirs stays closed.
    private func requireOwn(_ wish: RestoreWish, of source: ManagedMachine) throws {
        guard Self.isOwnKind(wish) else { throw Self.ownPlaceOnly }
        let files = try files(of: source)
        let point = try files.point(wish.point.hex)
        let areThere = try files.view(point.id) { view in try wish.paths.allSatisfy { try view.entry(of: $0) != nil } }
        guard areThere else { throw MachineFiles.fileMissing }
    }

    /// A wish as it is ordered. What is taken back is what the machine has said of the order that is named, and not what somebody says
    /// of it: plan, page and audit log tell of the same paths.
    private func made(_ wish: RestoreWish) throws -> RestoreWish {
        guard wish.kind == .undo || wish.undoes != nil else { return wish }
        let missing = HoldfastError(.notFound, "There is no restore in place of this machine to take back.")
        guard let undone = wish.undoes, let order = try core.restores.order(undone), try isSeen(order),
            order.wish.kind == .restore, order.wish.target == wish.target, order.result?.canBeUndone == true,
            order.result?.undoIdentifier != nil
        else { throw missing }
        var undo = RestoreWish.undo(order)
        (undo.asksFirst, undo.patience) = (wish.asksFirst, wish.patience)
        return undo
    }

    /// Whether somebody could order this now, as far as it does not depend on what is in a point.
    static func mayStillOrder(
        _ wish: RestoreWish, _ person: Person, machine: (MachineID) throws -> ManagedMachine?
    ) rethrows -> Bool {
        for id in [wish.source, wish.target] {
            guard let machine = try machine(id), person.covers(machine) else { return false }
        }
        if person.may(.restore) { return !wish.isElsewhere || person.may(.restoreElsewhere) }
        guard person.may(.seeOwn), isOwnKind(wish) else { return false }
        return wish.paths.allSatisfy { path in
            person.places.contains { $0.machine == wish.source && $0.path.contains(path) }
        }
    }

    private static func isOwnKind(_ wish: RestoreWish) -> Bool {
        wish.kind == .restore && wish.destination == .newFolder && !wish.isElsewhere && !wish.deletesExtra
    }

    /// Whether what an order has restored in place can be taken back: only a machine's last one can.
    package func mayUndo(_ order: RestoreOrder) throws -> Bool {
        guard order.state == .finished, order.wish.kind == .restore, order.result?.canBeUndone == true, !isForOwnOnly,
            mayDecide(order)
        else { return false }
        // One that began and did not come to its end has taken its place, too.
        return try !core.restores.newest(RestoreOrderBook.kept, .target(order.wish.target)).contains { other in
            other.id != order.id && other.wish.destination == .inPlace && other.begun != nil
                && other.ended.map { $0 >= (order.ended ?? order.created) } ?? true
        }
    }

    /// Takes back what an order has restored in place.
    package func undoRestore(_ order: RestoreOrder) throws -> RestoreOrder { try orderRestore(.undo(order)) }

    /// An order of theirs. Throws `notFound`, in the same words for one of others.
    package func restoreOrder(_ hex: String?) throws -> RestoreOrder {
        try requireRestores()
        guard let id = hex.flatMap({ RestoreOrderID(hex: $0) }), let order = try core.restores.order(id),
            try isSeen(order)
        else { throw Self.noOrder }
        return isForOwnOnly ? Self.ownView(order) : order
    }

    /// The newest orders that are theirs, newest first.
    package func restoreOrders(newest count: Int) throws -> [RestoreOrder] {
        try requireRestores()
        if person.seesAllMachines { return try core.restores.newest(count) }
        if isForOwnOnly {
            guard let account = person.account else { return [] }
            return try core.restores.newest(count, .account(account)).filter(isSeen).map(Self.ownView)
        }
        return try core.restores.newest(count, .between(Set(machines().map(\.id))))
    }

    /// What was said about an order, from `restoreOrder`.
    package func log(of order: RestoreOrder, after number: Int64 = 0) throws -> [RestoreOrderLine] {
        // Lines of machines name paths.
        isForOwnOnly ? [] : try core.restores.log(of: order.id, after: number)
    }

    /// Whether they may agree to an order, stop it or take it back.
    package func mayDecide(_ order: RestoreOrder) -> Bool {
        isForOwnOnly ? Self.isOwnKind(order.wish) : !order.wish.isElsewhere || person.may(.restoreElsewhere)
    }

    /// Agrees to an order's plan.
    ///
    /// - Parameter seen: the number of the plan that they have seen; `nil` from who agrees to whatever it is.
    package func confirmRestore(_ order: RestoreOrder, seen: Int64?) throws -> RestoreOrder {
        guard mayDecide(order) else { throw Self.notElsewhere }
        try note("restore.confirmed", to: order.wish.target.hex, ["order": .string(order.id.hex)])
        let changed = try core.restores.confirm(order.id, seen: seen, by: person.name)
        core.bell.ring(keepsPolicies: true)
        return isForOwnOnly ? Self.ownView(changed) : changed
    }

    /// Wants an order to end.
    package func stopRestore(_ order: RestoreOrder) throws -> RestoreOrder {
        guard mayDecide(order) else { throw Self.notElsewhere }
        try note("restore.stopped-by", ["order": .string(order.id.hex)])
        let changed = try core.restores.stop(order.id, by: person.name)
        core.bell.ring(keepsPolicies: true)
        return isForOwnOnly ? Self.ownView(changed) : changed
    }

    // MARK: Whose it is

    private func isSeen(_ order: RestoreOrder) throws -> Bool {
        if person.seesAllMachines { return true }
        let areTheirs = try [order.wish.source, order.wish.target].allSatisfy { id in
            try core.catalog.machine(id).map { person.covers($0) } ?? false
        }
        guard areTheirs, isForOwnOnly else { return areTheirs }
        return isTheirOwn(order)
    }

    /// Whether it was ordered by this account, in whatever way it came.
    private func isTheirOwn(_ order: RestoreOrder) -> Bool { person.account.map { order.account == $0.hex } ?? false }

    /// An order without the names that a machine has found on its way: some may lie where the account could not look.
    private static func ownView(_ order: RestoreOrder) -> RestoreOrder {
        var order = order
        order.plan?.hideNames()
        order.result?.keep(issues: [])
        return order
    }
}
