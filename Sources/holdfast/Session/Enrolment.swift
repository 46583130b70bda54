import Model
import Platform
import Vault

/// Lets this machine write to a vault: registers it there and keeps the writer's secrets here.
enum Enrolment {
    /// Registers this machine. The secrets are kept before the vault knows the machine: a machine that stops in between
    /// joins again and nothing is lost.
    @discardableResult
    static func join(
        _ session: VaultSession, keys: VaultKeys, global: GlobalOptions, name: String?
    ) throws -> MachineIdentity {
        let state = try StateDirectory(path: try global.stateDirectory())
        let wanted = name ?? Machine.hostName
        var identity = try state.machine(orNamed: wanted)
        if let name, identity.name != name {
            identity.name = name
            try state.save(identity)
        }
        let enrolled = try keys.enrol(
            machine: identity.id, name: identity.name, location: String(decoding: session.path, as: UTF8.self),
            joined: session.now)
        try state.save(enrolled.secrets)
        try session.vault.register(enrolled.record)
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
        try secrets.check(session.vault.config)
        session.vault.trust(secrets.domainSecret)
        return (state, secrets)
    }
}
