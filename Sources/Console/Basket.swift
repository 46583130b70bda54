import Client
import Model
import Synchronization
import Vault

/// What somebody has put together out of several directories, until they fetch it. It is kept with their session, and nowhere else.
final class Baskets: Sendable {
    struct Item: Hashable, Sendable {
        var machine: MachineID
        var point: PointID
        var path: TreePath
    }

    private struct Basket {
        var items: [Item] = []
        var used: UInt64
    }

    private struct State {
        var baskets: [Bytes32: Basket] = [:]
        var clock: UInt64 = 0
    }

    private let state = Mutex(State())
    /// Sessions whose baskets are remembered, and things in each.
    static let most = 500
    static let mostItems = 2_000

    func items(of session: Bytes32) -> [Item] { state.withLock { $0.baskets[session]?.items ?? [] } }

    /// Puts things in; what is in already, by itself or with a directory around it, stays once. Throws `tooLarge` and puts nothing
    /// in when there would be too many.
    func add(_ new: [Item], to session: Bytes32) throws {
        // Each is compared with each: what would be too many is never begun with.
        guard new.count <= Self.mostItems else { throw Self.tooMany }
        try state.withLock { state in
            state.clock += 1
            var basket = state.baskets[session] ?? Basket(used: 0)
            basket.used = state.clock
            for item in new {
                func isAround(_ a: Item, _ b: Item) -> Bool {
                    a.machine == b.machine && a.point == b.point && a.path.contains(b.path)
                }
                if basket.items.contains(where: { isAround($0, item) }) { continue }
                basket.items.removeAll { isAround(item, $0) }
                basket.items.append(item)
            }
            guard basket.items.count <= Self.mostItems else { throw Self.tooMany }
            state.baskets[session] = basket
            if state.baskets.count > Self.most,
                let oldest = state.baskets.min(by: { $0.value.used < $1.value.used })?.key
            {
                state.baskets[oldest] = nil
            }
        }
    }

    private static let tooMany = HoldfastError(
        .tooLarge, "At most \(mostItems) things are in a basket. Put the directory in instead.")

    func remove(_ items: Set<Item>, from session: Bytes32) {
        state.withLock { state in
            state.baskets[session]?.items.removeAll { items.contains($0) }
            if state.baskets[session]?.items.isEmpty == true { state.baskets[session] = nil }
        }
    }

    func clear(_ session: Bytes32) { state.withLock { $0.baskets[session] = nil } }
}
