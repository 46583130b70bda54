package import Model
import Synchronization

/// The reserve of a store that turned out to be full: given back for work that needs little room, as long as this object
/// lives. What is left of the room then is taken again, so that the next backup does not fill it.
package final class ReserveUse: Sendable {
    private let store: any BlobStore
    private let isReleased = Mutex(false)

    package init(_ store: any BlobStore) { self.store = store }

    deinit {
        guard isReleased.withLock({ $0 }) else { return }
        _ = try? (store as? any SpaceReserve)?.retakeReserve()
    }

    /// Gives the reserve back when `error` says that the store is full. Answers whether that made room: then what failed is
    /// worth another try.
    package func makesRoom(for error: HoldfastError) -> Bool {
        guard isForWantOfRoom(error), let reserve = store as? any SpaceReserve,
            (try? reserve.releaseReserve()) == true
        else { return false }
        isReleased.withLock { $0 = true }
        return true
    }

    /// Whether `error` comes of a full store. SQLite says of some files that they could not be written and not why; so does
    /// the operating system for some that could not be opened.
    package func isForWantOfRoom(_ error: HoldfastError) -> Bool {
        if error.code == .noSpace { return true }
        guard error.code == .io, let space = try? store.space() else { return false }
        return space.available < ReserveUse.leastRoom
    }

    /// What a catalog needs to be opened and to take a few rows, in bytes.
    private static let leastRoom: UInt64 = 256 << 10
}
