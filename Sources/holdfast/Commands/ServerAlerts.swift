import ArgumentParser
import Client
import Model
import Platform
import Server
import Vault

/// `holdfast server alerts`
struct ServerAlerts: Command {
    static let configuration = CommandConfiguration(
        commandName: "alerts",
        abstract: "Say when the server raises alerts, and whom it tells.",
        usage: "holdfast server alerts [<options>]",
        discussion: """
            Without options it shows what is set. Run this on the server's machine, beside the running server, which takes \
            changes up within seconds. The secret of a webhook is made here and shown once, or read from a file; what is sent is \
            signed with it (HMAC-SHA256 over time and body, in the header Holdfast-Webhook-Signature).

            Webhooks and the heartbeat are called by https, or by http on this machine itself; no redirection is followed.

            Examples:
              holdfast server alerts --mail-to ann@example.org --mail-to ops@example.org
              holdfast server alerts --mail-server mail.example.org:465 --mail-security tls
              holdfast server alerts --webhook https://chat.example.org/hooks/7
              holdfast server alerts --heartbeat https://watch.example.org/ping/holdfast --silent 3d --lag 30m
              holdfast alerts test
            """
    )

    @Option(help: ArgumentHelp("Send mail to this address too.", valueName: "address"))
    var mailTo: [String] = []
    @Option(help: ArgumentHelp("The sender of mails. (default: the system's)", valueName: "address"))
    var mailFrom: String?
    @Option(
        help: ArgumentHelp(
            "The program that takes mail on its input. (default: /usr/sbin/sendmail)", valueName: "file"))
    var sendmail: PathArgument?
    @Option(
        help: ArgumentHelp(
            "Hand mails to this mail server instead: a name, with :port where it is not the usual one; `none` for the program again.",
            valueName: "host"))
    var mailServer: String?
    @Option(
        help: ArgumentHelp(
            "How the way to the mail server is encrypted: starttls, tls, or none for this machine itself. (default: starttls)",
            valueName: "way"))
    var mailSecurity: String?
    @Option(help: ArgumentHelp("The user that the mail server knows.", valueName: "name"))
    var mailUser: String?
    @Option(help: ArgumentHelp("A file with the password of --mail-user on its first line.", valueName: "file"))
    var mailPasswordFile: PathArgument?
    @Option(help: ArgumentHelp("Send alerts to this address as JSON.", valueName: "url"))
    var webhook: String?
    @Option(help: ArgumentHelp("A file with the webhook's secret on its first line.", valueName: "file"))
    var secretFile: PathArgument?
    @Option(help: ArgumentHelp("Ask for this address every minute, for who watches the server.", valueName: "url"))
    var heartbeat: String?
    @Option(help: ArgumentHelp("A mail address, webhook or heartbeat that is told no more.", valueName: "target"))
    var remove: [String] = []
    @Option(
        help: ArgumentHelp("A machine of which nothing is heard for so long is silent.", valueName: "time"))
    var silent: SpanArgument?
    @Option(help: ArgumentHelp("Changes that wait for longer are an alert.", valueName: "time"))
    var lag: SpanArgument?
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if mailServer == nil, mailSecurity != nil || mailUser != nil || mailPasswordFile != nil {
            throw ValidationError("--mail-security, --mail-user and --mail-password-file go with --mail-server.")
        }
        if mailPasswordFile != nil, mailUser == nil {
            throw ValidationError("--mail-password-file goes with --mail-user.")
        }
        if let mailSecurity, Self.ways[mailSecurity] == nil {
            throw ValidationError("--mail-security takes starttls, tls or none.")
        }
        if secretFile != nil, webhook == nil { throw ValidationError("--secret-file goes with --webhook.") }
    }

    private static let ways: [String: MailSubmission.Security] = [
        "starttls": .upgrade, "tls": .implicit, "none": .none,
    ]

    /// The mail server that was named; `nil` for none.
    private func submission(_ text: String) throws -> MailSubmission? {
        if text == "none" { return nil }
        let security = mailSecurity.flatMap { Self.ways[$0] } ?? .upgrade
        var port = security == .implicit ? 465 : security == .upgrade ? 587 : 25
        var host = text
        // An address of version 6 has colons of its own.
        if text.count(where: { $0 == ":" }) == 1, let colon = text.firstIndex(of: ":") {
            host = String(text[..<colon])
            guard let number = Int(text[text.index(after: colon)...]) else {
                throw HoldfastError(.usage, "The port of a mail server is a number from 1 to 65535.")
            }
            port = number
        }
        let password = try mailPasswordFile.map {
            try PassphraseOptions.firstLine(of: $0.bytes, what: "password of the mail server")
        }
        return MailSubmission(host: host, port: port, security: security, user: mailUser, password: password)
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        var settings = try AlertSettings.load(place.catalog)
        var shown: String?
        for target in remove { try take(target, &settings) }
        for address in mailTo where !settings.mailTo.contains(address) { settings.mailTo.append(address) }
        if let mailFrom { settings.mailFrom = mailFrom }
        if let sendmail { settings.sendmail = String(decoding: sendmail.bytes, as: UTF8.self) }
        if let mailServer { settings.submission = try submission(mailServer) }
        if let heartbeat { settings.heartbeat = heartbeat }
        if let silent { settings.silentSeconds = seconds(silent, console) }
        if let lag { settings.lagSeconds = seconds(lag, console) }
        if let webhook {
            let secret: [UInt8]
            if let secretFile {
                secret = Array(
                    try PassphraseOptions.firstLine(of: secretFile.bytes, what: "webhook's secret").utf8)
            } else {
                let text = Hex.encode(RequestNonce.random().array + RequestNonce.random().array)
                secret = Array(text.utf8)
                shown = text
            }
            settings.webhooks.removeAll { $0.url == webhook }
            settings.webhooks.append(AlertSettings.Webhook(url: webhook, secret: secret))
        }
        if changes { try settings.save(place.catalog) }
        try show(settings, secret: shown, console)
        if !settings.mailTo.isEmpty, settings.submission == nil,
            (try? FileSystem.status(Array(settings.sendmail.utf8))) == nil
        {
            console.warn(
                "No mail goes out: there is no \(settings.sendmail). Install a mail program, or name one with --sendmail."
            )
        }
        return .done
    }

    private var changes: Bool {
        !mailTo.isEmpty || mailFrom != nil || sendmail != nil || mailServer != nil || webhook != nil || heartbeat != nil
            || !remove.isEmpty
            || silent != nil || lag != nil
    }

    private func seconds(_ span: SpanArgument, _ console: Console) -> Int64 {
        let now = Timestamp(nanoseconds: SystemClock.wall)
        return max(now.since(span.span.before(now, in: console.zone)) / 1_000_000_000, 0)
    }

    private func take(_ target: String, _ settings: inout AlertSettings) throws {
        let before = settings.mailTo.count + settings.webhooks.count + (settings.heartbeat == nil ? 0 : 1)
        settings.mailTo.removeAll { $0 == target }
        settings.webhooks.removeAll { $0.url == target }
        if settings.heartbeat == target { settings.heartbeat = nil }
        let after = settings.mailTo.count + settings.webhooks.count + (settings.heartbeat == nil ? 0 : 1)
        guard after < before else {
            throw HoldfastError(.notFound, "\"\(TreePath.display(target.utf8))\" is told nothing as it is.")
        }
    }

    private func show(_ settings: AlertSettings, secret: String?, _ console: Console) throws {
        var fields: [String: JSON] = [
            "mail_to": .strings(settings.mailTo), "sendmail": .string(settings.sendmail),
            "mail_from": settings.mailFrom.map { .string($0) } ?? .null,
            "mail_server": settings.submission.map { .string("\($0.host):\($0.port)") } ?? .null,
            "webhooks": .strings(settings.webhooks.map(\.url)),
            "heartbeat": settings.heartbeat.map { .string($0) } ?? .null,
            "silent_seconds": .integer(settings.silentSeconds), "lag_seconds": .integer(settings.lagSeconds),
        ]
        if let secret { fields["secret"] = .string(secret) }
        try console.emit("alert_settings", fields)
        func span(_ seconds: Int64) -> String { Units.span(nanoseconds: UInt64(max(seconds, 0)) * 1_000_000_000) }
        try console.line(
            "A machine is silent after \(span(settings.silentSeconds)), and behind after \(span(settings.lagSeconds)).")
        let mail = settings.mailTo.isEmpty ? "nobody" : settings.mailTo.joined(separator: ", ")
        let way = settings.submission.map { "\($0.host), port \($0.port)," } ?? settings.sendmail
        try console.line("Mail by \(way) to \(mail)")
        for hook in settings.webhooks { try console.line("Webhook \(hook.url)") }
        if let heartbeat = settings.heartbeat { try console.line("Heartbeat \(heartbeat)") }
        if let secret {
            try console.line()
            try console.line("The secret of the webhook, shown this once:")
            try console.line(secret)
        }
    }
}
