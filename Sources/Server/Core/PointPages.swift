import Client
import Model
import Platform
import Synchronization
import Vault

/// Pages of long lists of points. The order of a list is worked out once, for its first page, and remembered for those that
/// follow: it follows from all of the list's points, and each page has a few hundred.
final class PointPages: Sendable {
    private struct Key: Hashable {
        var machine: MachineID?
        var newest: Int?
    }

    private struct Listing {
        var order: [PointID]
        var used: Int64
    }

    private let listings = Mutex<[Key: Listing]>([:])
    /// Lists that are remembered, and for how long after their last page, in nanoseconds.
    private static let maximum = 8
    private static let lifetime: Int64 = 60_000_000_000

    /// The points of a list from the one with the given number on, and the number of the one after them.
    func page(of query: PointQuery, from start: Int, in vault: LocalVault) throws -> (
        points: [PointSummary], next: Int?
    ) {
        // Few points are listed again for each page.
        if !query.ids.isEmpty || query.newest ?? .max <= VaultMessages.pageSize {
            let points = try vault.points(query)
            let page = VaultMessages.page(of: points.dropFirst(start))
            return (page, start + page.count < points.count ? start + page.count : nil)
        }
        let order = try order(Key(machine: query.machine, newest: query.newest), isFirst: start == 0, vault)
        guard start < order.count else { return ([], nil) }
        let ids = order[start..<min(start + VaultMessages.pageSize, order.count)]
        let places = Dictionary(zip(ids, ids.indices)) { first, _ in first }
        // Those that were deleted since the first page are missing.
        let points = try vault.points(PointQuery(ids: Array(ids))).sorted {
            places[$0.id] ?? 0 < places[$1.id] ?? 0
        }
        let page = VaultMessages.page(of: points[...])
        var next = ids.endIndex
        if page.count < points.count, let first = places[points[page.count].id] { next = first }
        return (page, next < order.count ? next : nil)
    }

    private func order(_ key: Key, isFirst: Bool, _ vault: LocalVault) throws -> [PointID] {
        let now = SystemClock.monotonic
        let known = listings.withLock { listings -> [PointID]? in
            listings = listings.filter { now - $0.value.used < Self.lifetime }
            if isFirst { return nil }
            listings[key]?.used = now
            return listings[key]?.order
        }
        if let known { return known }
        var order = try vault.order(of: key.machine)
        if let newest = key.newest { order = order.suffix(newest) }
        if order.count <= VaultMessages.pageSize { return order }
        let found = order
        listings.withLock { listings in
            listings[key] = Listing(order: found, used: now)
            if listings.count > Self.maximum, let oldest = listings.min(by: { $0.value.used < $1.value.used })?.key {
                listings[oldest] = nil
            }
        }
        return order
    }
}
