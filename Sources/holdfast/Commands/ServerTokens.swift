import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Server
import Vault

/// `holdfast server token`
struct ServerTokenCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Print the line that enrols a machine.",
        usage: "holdfast server token [<options>]",
        discussion: """
            The code in the line lets machines enrol, and names this server's identity key so that nobody can take its place. It \
            is shown once; the server keeps a hash. Run this on the server's machine, beside the running server.

            Examples:
              holdfast server token
              holdfast server token --uses 50 --valid 7d --group laptops
            """
    )

    @Option(help: ArgumentHelp("How many machines it lets in.", valueName: "count"))
    var uses = 1
    @Option(help: ArgumentHelp("How long it holds, for example 24h or 7d. (default: 24h)", valueName: "time"))
    var valid: SpanArgument?
    @Option(help: ArgumentHelp("The group of the machines.", valueName: "group"))
    var group = "default"
    @Option(help: ArgumentHelp("The address by which machines reach this server.", valueName: "address"))
    var address: String?
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !(1...100_000).contains(uses) { throw ValidationError("--uses takes a number from 1 to 100,000.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        let address = try ServerAddress(self.address ?? "https://\(Machine.hostName):\(ServerAddress.defaultPort)")
        let token = SecretToken.random()
        let now = Timestamp(nanoseconds: SystemClock.wall)
        let span = valid?.span ?? CalendarSpan(days: 1)
        let expires = now.advanced(by: now.since(span.before(now, in: console.zone)))
        try place.catalog.add(
            AccessToken(
                hash: token.hash, role: .enrolment, name: "command line", group: group, uses: uses, expires: expires,
                created: now))
        let code = EnrolmentCode(token: token, serverKey: place.state.identity.key.verifyingKey)
        try console.emit(
            "enrolment_code",
            [
                "code": .string(code.text), "server": .string(address.description), "group": .string(group),
                "uses": .count(UInt64(uses)), "expires": .time(expires),
            ])
        try console.line("echo \(code.text) | holdfast enrol \(address.description)")
        return .done
    }
}

/// `holdfast server machines`
struct ServerMachines: Command {
    static let configuration = CommandConfiguration(
        commandName: "machines",
        abstract: "List the machines of the server, and decide about those that wait.",
        usage: "holdfast server machines [--approve <id> | --refuse <id>] [<options>]",
        discussion: """
            A machine waits when its id is known already, with another key: it was installed anew, or is a copy of the other. \
            --approve lets it go on with that history; the other is then shut out. --refuse sends it away.
            """
    )

    @Option(help: ArgumentHelp("Let the machine that waits under this id go on with its history.", valueName: "id"))
    var approve: String?
    @Option(help: ArgumentHelp("Send away the machine that waits under this id.", valueName: "id"))
    var refuse: String?
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if approve != nil, refuse != nil { throw ValidationError("Either --approve or --refuse.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        if let id = approve ?? refuse {
            let machine = try find(id, try place.catalog.machines())
            let core = try place.core(location)
            if approve != nil { try core.approve(machine.id) } else { try core.refuse(machine.id) }
            core.stop()
            try console.emit(
                "machine_decided",
                ["machine": .id(machine.id), "name": .string(machine.name), "approved": .bool(approve != nil)])
            try console.line(
                approve != nil
                    ? "\(machine.name) goes on with its history." : "What waited as \(machine.name) was sent away.")
            return .done
        }
        var table = Table(("machine", .left), ("name", .left), ("group", .left), ("state", .left), ("last seen", .left))
        let now = Timestamp(nanoseconds: SystemClock.wall)
        for machine in try place.catalog.machines() {
            let state = machine.waitingKey == nil ? "\(machine.state)" : "waiting"
            try console.emit(
                "machine",
                [
                    "machine": .id(machine.id), "name": .string(machine.name), "group": .string(machine.group),
                    "state": .string(state), "last_seen": .time(machine.lastSeen),
                ])
            table.add(
                String(machine.id.hex.prefix(8)), TreePath.display(machine.name.utf8), machine.group, state,
                Units.age(of: machine.lastSeen, at: now))
        }
        for line in table.lines(emphasise: { console.styled($0, .bold) }) { try console.line(line) }
        return .done
    }

    private func find(_ text: String, _ machines: [ManagedMachine]) throws -> ManagedMachine {
        let lowered = text.lowercased()
        let found = machines.filter { !lowered.isEmpty && ($0.id.hex.hasPrefix(lowered) || $0.name == text) }
        guard found.count == 1, let only = found.first else {
            throw HoldfastError(
                found.isEmpty ? .notFound : .usage,
                found.isEmpty ? "The server knows no such machine." : "Several machines are meant; use more of the id.")
        }
        return only
    }
}

/// `holdfast server check-sheet`
struct ServerCheckSheet: Command {
    static let configuration = CommandConfiguration(
        commandName: "check-sheet",
        abstract: "Type the key sheet back once, so that more machines may enrol.",
        usage: "holdfast server check-sheet [<file>] --vault <dir> [<options>]",
        discussion: """
            When the server is lost, the vault and its key sheet are all that is needed, and nothing else will do. So that the \
            sheet is known to be right, only one machine can enrol before its words were typed back.
            """
    )

    @Argument(help: ArgumentHelp("A file with the words. (default: they are asked for)", valueName: "file"))
    var file: PathArgument?
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        let session = try VaultSession(console, location, global)
        let sheet = try PassphraseOptions.keySheet(file ?? PathArgument(bytes: [UInt8(ascii: "-")]))
        let material = try VaultSession.keyMaterial(try session.localVault().store)
        _ = try VaultKeys.unlock(config: material.config, files: material.files, secret: .keySheet(sheet))
        try place.catalog.set(ServerCore.sheetSetting, [1])
        try console.emit("sheet_checked", ["vault": .id(session.vault.vault)])
        try console.line("The key sheet opens the vault. Any number of machines may enrol now.")
        return .done
    }
}
