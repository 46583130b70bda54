import ArgumentParser
import Catalog
import Model
import Vault

/// `holdfast vault join`
struct VaultJoin: Command {
    static let configuration = CommandConfiguration(
        commandName: "join",
        abstract: "Let this machine write to a vault.",
        usage: "holdfast vault join [<options>]",
        discussion: """
            Asks for the vault's passphrase once and keeps what this machine needs to write: from then on `holdfast backup` asks \
            for nothing. What is kept opens nothing that the vault holds: whoever steals it can add points, and read none.

            Joining again is harmless. With --again new signing keys are made, for a machine whose state was stolen.

            Example:
              holdfast vault join --vault /mnt/disk/vault --name mail-server
            """
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @Option(help: ArgumentHelp("What to call this machine. (default: its host name)", valueName: "name"))
    var name: String?
    @Flag(help: "Join anew although this machine has joined already.")
    var again = false
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global, for: .change)
        if !again, name == nil, let known = try joined(session) {
            try emit(console, session, known, isNew: false)
            try console.line("This machine, \(known.name), has joined \(session.name) already.")
            return .done
        }
        if let name { try refuse(takenName: name, session) }
        let keys = try session.keys(passphrase)
        let identity = try Enrolment.join(session, keys: keys, global: global, name: name, renewsKey: again)
        try emit(console, session, identity, isNew: true)
        try console.line("This machine, \(identity.name), may write to \(session.name).")
        return .done
    }

    /// Points are asked for by the machine's name: two of one name could not be told apart.
    private func refuse(takenName name: String, _ session: VaultSession) throws {
        let own = try StateDirectory.existing(path: try global.stateDirectory())?.machine()?.id
        guard let other = session.machines.first(where: { $0.key != own && $0.value.name == name }) else { return }
        throw HoldfastError(
            .exists,
            "Another machine of this vault is called \"\(TreePath.display(name.utf8))\" (\(other.key.hex.prefix(8))). "
                + "Nothing was changed.",
            context: ["hint": "Choose another name. Points of the machine that is gone are found with --machine."])
    }

    private func joined(_ session: VaultSession) throws -> MachineIdentity? {
        guard let state = try StateDirectory.existing(path: try global.stateDirectory()),
            let identity = try state.machine(), let secrets = try state.writerSecrets(of: session.vault.vault),
            let record = session.machines[identity.id], record.key == secrets.signing.verifyingKey
        else { return nil }
        try session.check(secrets)
        return identity
    }

    private func emit(
        _ console: Console, _ session: VaultSession, _ identity: MachineIdentity, isNew: Bool
    ) throws {
        try console.emit(
            "joined",
            [
                "vault": .id(session.vault.vault), "machine": .id(identity.id), "machine_name": .string(identity.name),
                "new": .bool(isNew),
            ])
    }
}
