package import Catalog
import Client
import Model
import Vault

/// When somebody is told, and how. Kept among the server's settings, so that it is safe with the server's own state; the
/// secrets of webhooks are in it.
package struct AlertSettings: SecretValue {
    /// The name of the setting.
    package static let name = "alerts"

    /// Where alerts are sent as JSON, signed.
    package struct Webhook: SecretValue {
        package var url: String
        /// Keys the HMAC-SHA256 over what is sent.
        package var secret: [UInt8]

        package init(url: String, secret: [UInt8]) {
            self.url = url
            self.secret = secret
        }
    }

    /// Addresses that get a mail.
    package var mailTo: [String] = []
    /// The sender's address; the system's own when there is none.
    package var mailFrom: String?
    /// The program that takes mail on its standard input.
    package var sendmail = "/usr/sbin/sendmail"
    /// A mail server that mails are handed to instead.
    package var submission: MailSubmission?
    package var webhooks: [Webhook] = []
    /// Asked for every `heartbeatSeconds`, so that who watches notices when this server is gone.
    package var heartbeat: String?
    package var heartbeatSeconds = 60
    /// A machine of which nothing is heard for so long is silent, in seconds; where no policy says more.
    package var silentSeconds: Int64 = 2 * 86_400
    /// Changes that wait longer are worth an alert, in seconds.
    package var lagSeconds: Int64 = 3_600
    /// What was kept when these were read: they are saved in its place, and in no other's.
    private var replaced: [UInt8]?

    package init() {}

    static let maximumTargets = 32

    /// What is expected of a machine of which nothing else is known.
    package var objectives: MachineObjectives {
        MachineObjectives(lag: lagSeconds * 1_000_000_000, silent: silentSeconds * 1_000_000_000)
    }

    /// Whom to tell of an alert, as it stands in messages that wait.
    package var targets: [String] {
        (mailTo.isEmpty ? [] : ["mail"]) + webhooks.map { "webhook \($0.url)" }
    }

    // MARK: Coding

    package func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "mail_to": .array(mailTo.map { .string($0) }), "sendmail": .string(sendmail),
            "heartbeat_seconds": .integer(Int64(heartbeatSeconds)), "silent_seconds": .integer(silentSeconds),
            "lag_seconds": .integer(lagSeconds),
            "webhooks": .array(
                webhooks.map { .object(["url": .string($0.url), "secret": .string(Hex.encode($0.secret))]) }),
        ]
        if let mailFrom { fields["mail_from"] = .string(mailFrom) }
        if let heartbeat { fields["heartbeat"] = .string(heartbeat) }
        if let submission { fields["submission"] = submission.encoded }
        return JSONValue.object(fields).encoded()
    }

    package static func decode(_ bytes: [UInt8]) throws -> AlertSettings {
        let fields = try JSONFields(parsing: bytes, document: "the settings of alerts")
        var settings = AlertSettings()
        settings.mailTo = try fields.strings("mail_to", atMost: maximumTargets)
        settings.mailFrom = fields.has("mail_from") ? try fields.string("mail_from") : nil
        settings.sendmail = try fields.string("sendmail")
        settings.heartbeat = fields.has("heartbeat") ? try fields.string("heartbeat") : nil
        settings.submission = fields.has("submission") ? try MailSubmission(try fields.object("submission")) : nil
        settings.heartbeatSeconds = Int(try fields.integer("heartbeat_seconds", in: 1...86_400))
        settings.silentSeconds = try fields.integer("silent_seconds", in: 60...(366 * 86_400))
        settings.lagSeconds = try fields.integer("lag_seconds", in: 1...(366 * 86_400))
        settings.webhooks = try fields.array("webhooks", atMost: maximumTargets).map { value in
            let row = try JSONFields(value, document: fields.document)
            return Webhook(url: try row.string("url"), secret: try row.bytes("secret"))
        }
        return settings
    }

    /// What the server has been told; the defaults when that is nothing.
    package static func load(_ catalog: any ServerCatalog) throws -> AlertSettings {
        guard let kept = try catalog.setting(name) else { return AlertSettings() }
        var settings = try decode(kept)
        settings.replaced = kept
        return settings
    }

    /// Throws `usage`, and `busy` when somebody else has changed them since these were read: nobody's change gets lost.
    package func save(_ catalog: any ServerCatalog) throws {
        try check()
        guard try catalog.set(AlertSettings.name, encoded(), replacing: replaced) else {
            throw HoldfastError(
                .busy, "The settings of alerts were changed by somebody else meanwhile; nothing was saved.",
                context: ["hint": "Look at them again, and change them again."])
        }
    }

    // MARK: What makes sense

    /// Throws `usage` for what cannot work or would be dangerous.
    package func check() throws {
        guard mailTo.count <= Self.maximumTargets, webhooks.count <= Self.maximumTargets else {
            throw HoldfastError(.usage, "At most \(Self.maximumTargets) addresses and webhooks can be told.")
        }
        for address in mailTo + [mailFrom].compactMap({ $0 }) { try Self.checkMail(address) }
        guard sendmail.hasPrefix("/"), !sendmail.utf8.contains(0) else {
            throw HoldfastError(
                .usage, "The program that sends mail is named by its whole path, as /usr/sbin/sendmail.")
        }
        try submission?.check()
        for hook in webhooks {
            _ = try OutgoingAddress(hook.url)
            guard hook.secret.count >= 16 else {
                throw HoldfastError(.usage, "The secret of a webhook has at least 16 bytes.")
            }
        }
        if let heartbeat { _ = try OutgoingAddress(heartbeat) }
    }

    /// As `check`, for what somebody far away has said. What this machine itself answers without encryption is for who sits at it:
    /// else an administrator of the console could try its ports, and talk to whatever listens there for it alone. Addresses that
    /// were there before may stay.
    package func checkFromOutside() throws {
        try check()
        let before = try replaced.map { try Self.decode($0) } ?? AlertSettings()
        let known = Set(before.webhooks.map(\.url) + [before.heartbeat].compactMap { $0 })
        for url in webhooks.map(\.url) + [heartbeat].compactMap({ $0 }) where !known.contains(url) {
            guard try OutgoingAddress(url).isSecure else {
                throw HoldfastError(
                    .usage,
                    "\"\(TreePath.display(url.utf8))\" is taken on the server itself only: `holdfast server alerts`; here it must begin with https://."
                )
            }
        }
    }

    /// An address goes into the head of a mail: nothing in it may end a line or begin an option.
    static func checkMail(_ text: String) throws {
        let isPlain = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !Array(",;:<>()\"\\".utf8).contains($0) }
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        guard isPlain, text.utf8.count <= 254, parts.count <= 2, !parts.contains(""), !text.hasPrefix("-") else {
            throw HoldfastError(.usage, "\"\(TreePath.display(text.utf8))\" is not an address for mail.")
        }
    }
}
