import Model
import Platform
import Vault

/// Lets this machine write to a vault: registers it there and keeps the writer's secrets here.
enum Enrolment {
    /// Registers this machine. A machine that stops half way joins again and nothing is lost.
    ///
    /// A machine that has a signing key for the vault keeps it: its older points are known by that key, also when its
    /// record in the vault was damaged.
    ///
    /// - Parameter renewsKey: makes another signing key, for a machine whose state was stolen.
    @discardableResult
    static func join(
        _ session: VaultSession, keys: VaultKeys, global: GlobalOptions, name: String?, renewsKey: Bool = false
    ) throws -> MachineIdentity {
        let state = try StateDirectory(path: try global.stateDirectory())
        let wanted = name ?? Machine.hostName
        var identity = try state.machine(orNamed: wanted)
        if let name, identity.name != name {
            identity.name = name
            try state.save(identity)
        }
        let vault = try session.localVault()
        // Secrets that cannot be read are none.
        let known = (try? state.writerSecrets(of: vault.vault)).flatMap { $0?.machine == identity.id ? $0 : nil }
        let signing = renewsKey ? nil : known?.signing
        let enrolled = try keys.enrol(
            machine: identity.id, name: identity.name, location: String(decoding: session.path, as: UTF8.self),
            signing: signing ?? .random(), joined: try vault.joiningTime(of: identity.id, now: session.now))
        // The key that the vault knows is given up only when it knows the new one.
        if known == nil { try state.save(enrolled.secrets) }
        try vault.register(enrolled.record)
        if known != nil { try state.save(enrolled.secrets) }
        return identity
    }

    /// What this machine writes with. Throws `keyNeeded` with what to do when it did not join.
    static func secrets(_ session: VaultSession, _ global: GlobalOptions) throws -> (StateDirectory, WriterSecrets) {
        let path = try global.stateDirectory()
        guard let state = try StateDirectory.existing(path: path),
            let secrets = try state.writerSecrets(of: session.vault.vault)
        else {
            throw HoldfastError(
                .keyNeeded, "This machine has not joined the vault \(session.name) yet.",
                context: ["hint": "Run `holdfast vault join --vault \(session.name)` once; it asks for the passphrase."]
            )
        }
        try session.check(secrets)
        return (state, secrets)
    }
}
