import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Server
import Vault

/// `holdfast server access`
struct ServerAccess: Command {
    static let configuration = CommandConfiguration(
        commandName: "access",
        abstract: "Let a person or program in: print an access code, list them, take one back.",
        usage: "holdfast server access --role <role> --name <name> [<options>]",
        discussion: """
            Roles: a viewer sees lists and numbers, a reader restores what any machine has kept, an administrator may all. The \
            code is shown once; the server keeps a hash. Put it into a file that only its owner can read and name that with \
            --token-file or HOLDFAST_TOKEN_FILE. Run this on the server's machine, beside the running server.

            Examples:
              holdfast server access --role administrator --name ann --valid 90d
              holdfast server access --list
              holdfast server access --remove ann
            """
    )

    /// What a person may do.
    enum Role: String, ExpressibleByArgument, CaseIterable {
        case viewer, reader, administrator

        var token: AccessToken.Role {
            switch self {
            case .viewer: .viewer
            case .reader: .reader
            case .administrator: .administrator
            }
        }
    }

    @Option(help: "What they may do: viewer, reader or administrator.")
    var role: Role?
    @Option(help: ArgumentHelp("Who it is for.", valueName: "name"))
    var name: String?
    @Option(help: ArgumentHelp("How long it holds, for example 90d. (default: until it is removed)", valueName: "time"))
    var valid: SpanArgument?
    @Flag(help: "List the codes that were given out, without the codes.")
    var list = false
    @Option(help: ArgumentHelp("Take back every code of this name.", valueName: "name"))
    var remove: String?
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        let count = [role != nil || name != nil, list, remove != nil].count { $0 }
        if count > 1 { throw ValidationError("Give a code, list them, or remove one.") }
        if count == 0 || (role == nil) != (name == nil) {
            throw ValidationError("Name both --role and --name, or --list, or --remove.")
        }
        if let name, name.isEmpty || name.utf8.count > 200 { throw ValidationError("--name takes 1 to 200 bytes.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        if let remove { return try take(remove, place, console) }
        guard let role, let name else { return try show(place, console) }
        let token = SecretToken.random()
        let now = Timestamp(nanoseconds: SystemClock.wall)
        let expires = valid.map { now.advanced(by: now.since($0.span.before(now, in: console.zone))) }
        try place.catalog.add(
            AccessToken(
                hash: token.hash, role: role.token, name: name, group: "", uses: nil, expires: expires, created: now))
        let code = AccessCode(token: token, serverKey: place.state.identity.key.verifyingKey)
        var fields: [String: JSON] = [
            "code": .string(code.text), "role": .string(role.rawValue), "name": .string(name),
        ]
        if let expires { fields["expires"] = .time(expires) }
        try console.emit("access_code", fields)
        try console.line(code.text)
        return .done
    }

    private func people(_ place: ServerPlace) throws -> [AccessToken] {
        try place.catalog.tokens().filter { $0.role != .enrolment }
    }

    private func show(_ place: ServerPlace, _ console: Console) throws -> ExitStatus {
        var table = Table(("name", .left), ("role", .left), ("made", .left), ("until", .left))
        for token in try people(place) {
            var fields: [String: JSON] = [
                "name": .string(token.name), "role": .string("\(token.role)"), "created": .time(token.created),
            ]
            if let expires = token.expires { fields["expires"] = .time(expires) }
            try console.emit("access", fields)
            table.add(
                TreePath.display(token.name.utf8), "\(token.role)", TimeText.local(token.created, in: console.zone),
                token.expires.map { TimeText.local($0, in: console.zone) } ?? "it is removed")
        }
        try console.table(table)
        return .done
    }

    private func take(_ name: String, _ place: ServerPlace, _ console: Console) throws -> ExitStatus {
        var count = 0
        for token in try people(place) where token.name == name {
            if try place.catalog.remove(tokenHash: token.hash) { count += 1 }
        }
        guard count > 0 else {
            throw HoldfastError(.notFound, "Nobody of this name has an access code.")
        }
        try console.emit("access_removed", ["name": .string(name), "count": .count(count)])
        try console.line("\(Units.count(count, "access code")) taken back.")
        return .done
    }
}
