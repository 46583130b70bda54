package import Model
import Synchronization

/// Leases in the memory of a process that reads a vault with a catalog of its own: nobody else sees them, and what would
/// change the vault is refused.
package final class PrivateLeases: LeaseGuard {
    private let held = Mutex<Set<LeaseID>>([])
    private let refusal: HoldfastError
    /// Kept as long as the leases: the place of the catalog.
    private let place: any HeldRole

    private final class Role: HeldRole {}

    /// - Parameter refusal: why nothing in the vault can be changed.
    package init(refusal: HoldfastError, place: any HeldRole) {
        self.refusal = refusal
        self.place = place
    }

    package func hold(_ id: LeaseID) { held.withLock { _ = $0.insert(id) } }
    package func release(_ id: LeaseID) { held.withLock { _ = $0.remove(id) } }
    package func isHeld(_ id: LeaseID) -> Bool { held.withLock { $0.contains(id) } }
    package func traces() -> [LeaseID] { [] }
    package func forget(_ id: LeaseID) {}

    package func take(_ role: VaultRole) throws -> (any HeldRole)? {
        if role == .collector { throw refusal }
        return Role()
    }

    package func join(_ role: VaultRole) -> (any HeldRole)? { Role() }
}
