package import Model
import Synchronization
package import Vault

/// Gives this machine another key for its requests, one change after the other, whoever asks.
///
/// At every instant the server takes the key that is kept, wherever this is interrupted: once it has been told of the new key it
/// takes that and the one before, until the new one is used; and the new one is not used before it is kept.
package final class KeyChange: Sendable {
    private let machine: MachineID
    private let connections: [ServerConnection]
    private let load: @Sendable () throws -> SigningKey
    private let save: @Sendable (SigningKey) throws -> Void
    private let running = Mutex(())

    /// - Parameters:
    ///   - connections: those of this machine to the server, which all go on with the new key; the first asks for it.
    ///   - load: the key that is kept.
    ///   - save: keeps another in its place; it survives a power cut when this returns.
    package init(
        machine: MachineID, connections: [ServerConnection], load: @escaping @Sendable () throws -> SigningKey,
        save: @escaping @Sendable (SigningKey) throws -> Void
    ) {
        self.machine = machine
        self.connections = connections
        self.load = load
        self.save = save
    }

    /// Changes the key. When it throws, the one before goes on, or the new one does; both hold then.
    ///
    /// - Returns: whether the server refuses the one before by now. If not, it does from the next request on that reaches it.
    package func run() throws -> Bool {
        try running.withLock { _ in
            guard let first = connections.first else {
                throw HoldfastError(.notFound, "There is no server that knows a key of this machine.")
            }
            // What is kept is what counts: a change that was interrupted may have kept a key that nobody here has heard of. It is
            // surely on the disk before the server forgets the one before.
            let kept = try load()
            try save(kept)
            use(kept)
            let key = SigningKey.random()
            try first.request(
                "PUT", "/api/v1/machines/\(machine.hex)/key",
                body: JSONValue.object(["key": .string(key.verifyingKey.description)]).encoded())
            try save(key)
            use(key)
            return isUsed(first)
        }
    }

    private func use(_ key: SigningKey) { for connection in connections { connection.sign(with: key) } }

    /// Once the new one was used, the server forgets the one before.
    private func isUsed(_ connection: ServerConnection) -> Bool {
        for _ in 0..<2 {
            if (try? connection.request("GET", "/api/v1/machines/\(machine.hex)/policy", seconds: 20)) != nil {
                return true
            }
        }
        return false
    }
}
