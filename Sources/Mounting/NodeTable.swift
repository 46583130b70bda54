import Model
import Synchronization
import Vault

/// What the kernel can ask about.
enum Node: Hashable, Sendable {
    /// The mounted directory: the machines.
    case root
    /// A machine: its points.
    case machine(MachineID)
    /// A link in a machine's directory to one of its points.
    case link(MachineID, name: [UInt8])
    /// Something in a point.
    case entry(PointPlace, TreePath)

    static func == (a: Node, b: Node) -> Bool {
        switch (a, b) {
        case (.root, .root): true
        case (.machine(let a), .machine(let b)): a == b
        case (.link(let machine, let name), .link(let other, let second)): machine == other && name == second
        case (.entry(let place, let path), .entry(let other, let second)): place.id == other.id && path == second
        default: false
        }
    }

    func hash(into hasher: inout Hasher) {
        switch self {
        case .root: hasher.combine(0)
        case .machine(let id):
            hasher.combine(1)
            hasher.combine(id)
        case .link(let machine, let name):
            hasher.combine(2)
            hasher.combine(machine)
            hasher.combine(name)
        case .entry(let place, let path):
            hasher.combine(3)
            hasher.combine(place.id)
            hasher.combine(path)
        }
    }
}

/// The numbers by which the kernel calls nodes. One is kept as long as the kernel remembers it.
///
/// A number comes from what the node is, by a hash with a secret of this process: so the table needs no second index, and no
/// name in a backup can be made to collide with another.
final class NodeTable: Sendable {
    private struct Slot {
        var node: Node
        var count: UInt64
    }

    static let root: UInt64 = 1

    private let slots = Mutex<[UInt64: Slot]>([:])

    /// The inode number of a node that is not one of several names of a file.
    static func number(_ node: Node) -> UInt64 {
        if case .root = node { return root }
        var hasher = Hasher()
        node.hash(into: &hasher)
        return max(UInt64(bitPattern: Int64(hasher.finalize())), 2)
    }

    /// The inode number that all names of a hard-linked file share. The same file in another point has another.
    static func number(_ group: LinkGroup, in place: PointPlace) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(place.id)
        hasher.combine(group)
        return max(UInt64(bitPattern: Int64(hasher.finalize())), 2)
    }

    /// The node's number, for telling the kernel of it once more.
    func remember(_ node: Node) -> UInt64 {
        if case .root = node { return Self.root }
        var number = Self.number(node)
        return slots.withLock { slots in
            while let slot = slots[number], slot.node != node { number = max(number &+ 1, 2) }
            slots[number, default: Slot(node: node, count: 0)].count += 1
            return number
        }
    }

    func node(_ number: UInt64) -> Node? {
        number == Self.root ? .root : slots.withLock { $0[number]?.node }
    }

    /// The kernel takes back that it was told of the node `count` times.
    func forget(_ number: UInt64, _ count: UInt64) {
        slots.withLock { slots in
            guard let slot = slots[number] else { return }
            if slot.count <= count { slots[number] = nil } else { slots[number]?.count -= count }
        }
    }

    var count: Int { slots.withLock { $0.count } }
}
