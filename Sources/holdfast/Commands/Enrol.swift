import ArgumentParser
import Client
import Glibc
import Model
import Platform
import Vault

/// `holdfast enrol`
struct Enrol: Command {
    static let configuration = CommandConfiguration(
        commandName: "enrol",
        abstract: "Let this machine back up to a Holdfast server.",
        usage: "holdfast enrol <server> [<options>]",
        discussion: """
            Asks for an enrolment code, or reads it from its input; never from an argument, which everybody could see. The code \
            comes from `holdfast server token` on the server, and names the server's identity key too: nothing is sent to \
            a machine that does not hold it. Afterwards the server's address stands wherever a vault can be named:

              echo hfe_... | holdfast enrol https://backup.example.org:7443
              export HOLDFAST_VAULT=https://backup.example.org:7443
              holdfast backup /etc /home
              holdfast agent run   all the time, as the machine's policy says

            An owner-only vault is opened here and nowhere else: enrolling asks for its passphrase, and so does restoring.

            Enrolling again is harmless. A machine whose id is known to the server already (after a new installation, or a copy \
            of another) waits until an administrator approves it there.
            """
    )

    @Argument(help: ArgumentHelp("The address of the server: https://HOST[:PORT].", valueName: "server"))
    var server: String
    @Option(help: ArgumentHelp("A file with the enrolment code on its first line.", valueName: "file"))
    var codeFile: PathArgument?
    @Option(help: ArgumentHelp("What to call this machine. (default: its host name)", valueName: "name"))
    var name: String?
    @Flag(help: "This machine is a copy of another: enrol it as one of its own, with a history of its own.")
    var newMachine = false
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    /// The code as it is typed or comes in; at most one line of it is looked at.
    private func readCode() throws -> String {
        if let codeFile { return try PassphraseOptions.firstLine(of: codeFile.bytes, what: "enrolment code") }
        if Terminal.isTerminal(STDIN_FILENO) {
            return String(decoding: try PassphraseOptions.ask(bytesFor: "Enrolment code: "), as: UTF8.self)
        }
        guard let line = readLine() else {
            throw HoldfastError(
                .usage, "No enrolment code came in.",
                context: ["hint": "Run the line that `holdfast server token` prints, with the echo before it."])
        }
        return line
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let address = try ServerAddress(server)
        let code = try EnrolmentCode(try readCode())
        let state = try StateDirectory(path: try global.stateDirectory())
        var identity = try state.machine(orNamed: name ?? Machine.hostName)
        if newMachine {
            identity = MachineIdentity(id: .random(), name: name ?? Machine.hostName)
            try state.save(identity)
        } else if let name, identity.name != name {
            identity.name = name
            try state.save(identity)
        }
        let enrolled = try Enrol.enrol(identity, address, code, state) { material in
            try VaultKeys.unlock(
                config: material.config, files: material.files,
                secret: try passphrase.secret(console, vault: address.description))
        }
        try ServerMembership(credentials: enrolled.credentials, secrets: enrolled.secrets).save(state)
        try console.emit(
            "enrolled",
            [
                "server": .string(address.description), "vault": .id(enrolled.secrets.vault),
                "machine": .id(identity.id), "machine_name": .string(identity.name),
                "waiting": .bool(enrolled.isWaiting),
            ])
        if enrolled.isWaiting {
            console.warn(
                "The server knows this machine's id already, with another key. An administrator has to approve it there: "
                    + "`holdfast server machines --approve \(identity.id.hex.prefix(8))`. There it is shown with this key: "
                    + "\(enrolled.credentials.key.verifyingKey.fingerprint).")
            return .warnings
        }
        try console.line("This machine, \(identity.name), may back up to \(address.description).")
        if try isServed() {
            try console.line("The service holdfast-agent protects it from now on, as its policy says. How it stands:")
            try console.line("  holdfast agent status")
            return .done
        }
        try console.line("To protect it all the time, as its policy says, let this run, now and after each start:")
        try console.line("  holdfast agent run\(global.stateWords)")
        try console.line("To back up once, without a policy:")
        try console.line("  holdfast backup PATH... --vault \(address.description)\(global.stateWords)")
        return .done
    }

    /// Whether the package with the service is installed, which begins by itself when the machine has enrolled.
    private func isServed() throws -> Bool {
        guard try global.stateDirectory() == Array("/var/lib/holdfast".utf8) else { return false }
        return ["/usr/lib", "/lib", "/etc"].contains { place in
            (try? FileSystem.status(Array("\(place)/systemd/system/holdfast-agent.path".utf8))) != nil
        }
    }

    /// Enrols a machine with the keys that it has, or with new ones.
    static func enrol(
        _ identity: MachineIdentity, _ address: ServerAddress, _ code: EnrolmentCode, _ state: StateDirectory,
        unlock: (KeyMaterial) throws -> VaultKeys
    ) throws -> EnrolledMachine {
        let known = try ServerMembership.credentials(address, state)
        let fresh = try ServerMembership.keys(for: address, machine: identity.id, state)
        // The keys of the machine that this one is a copy of stay that machine's.
        let isSame = known?.machine == identity.id
        let signing = isSame ? try known.flatMap { try state.writerSecrets(of: $0.vault)?.signing } : nil
        return try Enrolling.enrol(
            address: address, code: code, machine: identity.id, name: identity.name,
            key: isSame ? known?.key ?? fresh.key : fresh.key, signing: signing ?? fresh.signing,
            unlock: unlock)
    }
}
