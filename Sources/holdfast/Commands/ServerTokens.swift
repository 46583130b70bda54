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
        abstract: "Print the line that installs Holdfast on a machine and enrols it.",
        usage: "holdfast server token [<options>]",
        discussion: """
            The code in the line lets machines enrol, and names this server's identity key so that nobody can take its place. It \
            is shown once; the server keeps a hash. Run this on the server's machine, beside the running server.

            The line is pasted on the machine, as root. When the server offers packages (`server run --packages`) it fetches a \
            script from it, compares the script's hash with the one in the line, and runs it: it looks whether all fits, enrols \
            the machine, installs the packages and starts the agent. Otherwise, and with --enrol-only, it enrols a machine on \
            which Holdfast is installed.

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
    @Flag(help: "Print the line for a machine on which Holdfast is installed already.")
    var enrolOnly = false
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
        let enrolment = "echo \(code.text) | holdfast enrol \(address.description)"
        let installation =
            enrolOnly ? nil : try ServerCore.installLine(code, address: address, catalog: place.catalog)
        try console.emit(
            "enrolment_code",
            [
                "code": .string(code.text), "server": .string(address.description), "group": .string(group),
                "uses": .count(UInt64(uses)), "expires": .time(expires), "line": .string(installation ?? enrolment),
                "installs": .bool(installation != nil),
            ])
        try console.line(installation ?? enrolment)
        if installation != nil {
            console.note("Paste it as root. Where Holdfast is installed already, `--enrol-only` prints a shorter one.")
        }
        return .done
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
