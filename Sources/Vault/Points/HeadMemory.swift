package import Model
import Platform

/// What a writer remembers of where its chain in a vault ends.
///
/// A commit is two steps on two sides: the vault stores the point, and the machine remembers it. The head that will be is
/// noted before, so that a machine that dies between the two knows its own point again and does not begin a new
/// incarnation with a full scan.
package protocol HeadMemory: Sendable {
    /// The heads that the vault may have, likeliest first; none for a machine that never wrote.
    func remembered() throws -> [MachineHead]

    /// Runs `body` while no other backup of this machine commits to the vault.
    func exclusively<R>(_ body: () throws -> R) throws -> R

    /// Notes the head that the point about to be committed makes. On stable storage on return.
    func expect(_ head: MachineHead) throws

    /// Keeps the head that the vault has acknowledged.
    func acknowledge(_ head: MachineHead) throws

    /// Keeps a remembered head that the vault has shown to hold, unless it is kept already.
    func confirm(_ head: MachineHead) throws
}

/// A head that is given and not kept: for rehearsals and for whoever keeps it otherwise.
package struct GivenHead: HeadMemory {
    private let head: MachineHead?
    package init(_ head: MachineHead?) { self.head = head }
    package func remembered() -> [MachineHead] { head.map { [$0] } ?? [] }
    package func exclusively<R>(_ body: () throws -> R) throws -> R { try body() }
    package func expect(_ head: MachineHead) {}
    package func acknowledge(_ head: MachineHead) {}
    package func confirm(_ head: MachineHead) {}
}

/// The heads in a state directory: `heads/<vault>.json`, and `heads/<vault>.next.json` for the one that is expected.
package struct StateHeads: HeadMemory {
    private let state: StateDirectory
    private let vault: VaultID

    package init(_ state: StateDirectory, vault: VaultID) {
        self.state = state
        self.vault = vault
    }

    package func remembered() throws -> [MachineHead] {
        let head = try state.head(in: vault)
        guard let expected = try state.expectedHead(in: vault), expected != head else { return head.map { [$0] } ?? [] }
        guard let head else { return [expected] }
        // An expectation that the vault never fulfilled, or that a later point has overtaken, comes second at best.
        return StateHeads.isOlder(expected, than: head) ? [head] : [expected, head]
    }

    package func exclusively<R>(_ body: () throws -> R) throws -> R { try state.withHeadLock(vault, body) }

    package func expect(_ head: MachineHead) throws { try state.expect(head, in: vault) }

    package func acknowledge(_ head: MachineHead) throws { try state.save(head, in: vault) }

    package func confirm(_ head: MachineHead) throws {
        if try state.head(in: vault) != head { try state.save(head, in: vault) }
    }

    private static func isOlder(_ a: MachineHead, than b: MachineHead) -> Bool {
        a.incarnation == b.incarnation && a.number < b.number
    }
}
