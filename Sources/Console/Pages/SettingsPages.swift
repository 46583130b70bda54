import Catalog
import Client
import Model
import Server
import Vault

/// What holds for the server as a whole.
enum SettingsPages {
    static let all: [Page] = [
        .get(
            "/settings", "Mail, thresholds, addresses, certificate, storage, updates, and the server's own safety.",
            .right(.seeAudit)
        ) {
            try show($0)
        },
        .post("/settings/mail", .right(.manageSettings), saveMail),
        .post("/settings/mail/test", .right(.manageSettings), test),
        .post("/settings/alerts", .right(.manageSettings), saveThresholds),
        .post("/settings/webhooks", .right(.manageSettings), addWebhook),
        .post("/settings/webhooks/remove", .right(.manageSettings), removeWebhook),
        .post("/settings/address", .right(.manageSettings), saveAddress),
    ]

    /// Addresses as people type them in a row.
    static func addresses(_ text: String) -> [String] {
        var seen: Set<String> = []
        return text.split { ",; \n\t\r".contains($0) }.map(String.init).filter { seen.insert($0).inserted }
    }

    /// What a form has said, to be shown at its place.
    struct Told {
        var place: String
        var text: HTML
        var isGood: Bool

        static func done(_ place: String, _ text: HTML) -> Told { Told(place: place, text: text, isGood: true) }
        static func wrong(_ place: String, _ text: HTML) -> Told { Told(place: place, text: text, isGood: false) }

        func show(at place: String) -> HTML? {
            guard place == self.place else { return nil }
            return isGood
                ? "<div class=\"done\" role=\"status\">\(text)</div>"
                : "<div class=\"error\" role=\"alert\">\(text)</div>"
        }
    }

    @Sendable private static func show(
        _ visit: Visit, told: Told? = nil, typed: AlertSettings? = nil
    ) throws -> ServerAnswer {
        guard visit.seesAllMachines else {
            throw HoldfastError(.denied, "Settings are shown to those who see all machines.")
        }
        let settings = try typed ?? AlertSettings.load(visit.core.catalog)
        let mayChange = visit.may(.manageSettings)
        let places = [
            ("mail", "Mail"), ("thresholds", "Alerts"), ("webhooks", "Webhooks"), ("server", "Server"),
            ("certificate", "Certificate"),
            ("storage", "Storage"), ("packages", "Updates"), ("recovery", "Recovery"),
        ]
        let index: [HTML] = places.map { "<a href=\"#\($0.0)\">\($0.1)</a>" }
        return Layout.page(
            "Settings", visit,
            """
            <nav class="choices" aria-label="On this page">\(HTML.joined(index, by: " · "))</nav>
            \(SettingsParts.mail(settings, visit, told, mayChange))\(SettingsParts.thresholds(settings, visit, told, mayChange))
            \(SettingsParts.webhooks(settings, visit, told, mayChange))\(SettingsParts.server(visit, told, mayChange))
            \(SettingsParts.certificate(visit))\(SettingsParts.storage(visit))\(SettingsParts.packages(visit))\(try SettingsParts.recovery(visit))
            """)
    }

    // MARK: Changes

    /// Writes down each value that is another than before. Secrets are named and not shown.
    private static func note(_ what: String, _ changes: [(name: String, before: String, after: String)], _ visit: Visit)
        throws
    {
        for change in changes where change.before != change.after {
            try visit.note(
                "settings.changed", to: what,
                ["value": .string(change.name), "before": .string(change.before), "after": .string(change.after)])
        }
    }

    /// The settings with what the form about mail says.
    private static func mail(_ visit: Visit) throws -> AlertSettings {
        var settings = try AlertSettings.load(visit.core.catalog)
        settings.mailTo = addresses(visit.form.text("to"))
        let from = visit.form.text("from")
        settings.mailFrom = from.isEmpty ? nil : from
        guard visit.form.text("way") == "server" else {
            settings.submission = nil
            return settings
        }
        guard let security = MailSubmission.Security(rawValue: visit.form.text("security")) else {
            throw HoldfastError(.usage, "Choose how the connection is encrypted.")
        }
        let usual = security == .implicit ? 465 : security == .upgrade ? 587 : 25
        let user = visit.form.text("user")
        var submission = MailSubmission(
            host: visit.form.text("host"), port: visit.form.number("port", in: 1...65_535) ?? usual, security: security,
            user: user.isEmpty ? nil : user)
        let password = visit.form.text("password")
        if !password.isEmpty {
            submission.password = password
        } else if let known = settings.submission, known.host == submission.host, known.user == submission.user {
            // Nobody is shown the password, so an empty field means the one that is there. Another server does not get it.
            submission.password = known.password
        }
        settings.submission = submission
        return settings
    }

    private static func words(_ submission: MailSubmission?) -> String {
        guard let submission else { return "the system's mail program" }
        return "\(submission.host):\(submission.port), \(submission.security.rawValue), \(submission.user ?? "no user")"
    }

    @Sendable private static func saveMail(_ visit: Visit) throws -> ServerAnswer {
        let before = try AlertSettings.load(visit.core.catalog)
        let settings: AlertSettings
        do {
            settings = try mail(visit)
            try settings.check()
        } catch let error as HoldfastError where error.code == .usage {
            return try show(visit, told: .wrong("mail", "Nothing was saved: \(error.message)"), typed: try? mail(visit))
        }
        try note(
            "mail",
            [
                ("to", before.mailTo.joined(separator: ", "), settings.mailTo.joined(separator: ", ")),
                ("from", before.mailFrom ?? "", settings.mailFrom ?? ""),
                ("by", words(before.submission), words(settings.submission)),
                ("password", "", before.submission?.password == settings.submission?.password ? "" : "(changed)"),
            ], visit)
        try visit.core.change(settings)
        if visit.form.text("do") == "test" { return try test(visit) }
        return try show(visit, told: .done("mail", "Saved. Send a test to be sure that it works."))
    }

    @Sendable private static func test(_ visit: Visit) throws -> ServerAnswer {
        let trials = visit.core.testAlertWays()
        if trials.isEmpty {
            return try show(visit, told: .wrong("mail", "There is nobody to tell: name an address, and save."))
        }
        let mail = trials.first { $0.target == "mail" }
        try visit.site.accounts.audit.note(
            "mail.tested", by: visit.name, from: visit.request.address,
            succeeded: mail.map { $0.failure == nil } ?? false)
        let rows: [HTML] = trials.map { trial in
            trial.failure.map { "<li>\(Piece.state("bad", "did not work")) \(trial.target): \($0)</li>" }
                ?? "<li>\(Piece.state("good", "sent")) \(trial.target)</li>"
        }
        let isGood = trials.allSatisfy { $0.failure == nil }
        let words: HTML =
            mail?.failure == nil && mail != nil
            ? "<p>The mail was taken. Look whether it arrives, and whether it lies among the unwanted.</p>" : .nothing
        let text: HTML = "<ul class=\"states\">\(rows)</ul>\(words)"
        return try show(visit, told: isGood ? .done("mail", text) : .wrong("mail", text))
    }

    @Sendable private static func saveThresholds(_ visit: Visit) throws -> ServerAnswer {
        var settings = try AlertSettings.load(visit.core.catalog)
        let before = settings
        guard let hours = visit.form.number("silent", in: 1...8_760),
            let minutes = visit.form.number("lag", in: 1...525_600)
        else {
            return try show(
                visit, told: .wrong("thresholds", "Nothing was saved: 1 to 8,760 hours, and 1 to 525,600 minutes."))
        }
        settings.silentSeconds = Int64(hours) * 3_600
        settings.lagSeconds = Int64(minutes) * 60
        let heartbeat = visit.form.text("heartbeat")
        settings.heartbeat = heartbeat.isEmpty ? nil : heartbeat
        do { try settings.checkFromOutside() } catch let error as HoldfastError where error.code == .usage {
            return try show(visit, told: .wrong("thresholds", "Nothing was saved: \(error.message)"), typed: settings)
        }
        try note(
            "alerts",
            [
                ("silent after, seconds", "\(before.silentSeconds)", "\(settings.silentSeconds)"),
                ("behind after, seconds", "\(before.lagSeconds)", "\(settings.lagSeconds)"),
                ("heartbeat", before.heartbeat ?? "", settings.heartbeat ?? ""),
            ], visit)
        try visit.core.change(settings)
        return try show(visit, told: .done("thresholds", "Saved."))
    }

    @Sendable private static func addWebhook(_ visit: Visit) throws -> ServerAnswer {
        let secret: String
        do { secret = try visit.desk.addWebhook(visit.form.text("url")) } catch let error as HoldfastError
            where error.code == .usage
        {
            return try show(visit, told: .wrong("webhooks", "Nothing was added: \(error.message)"))
        }
        return try show(
            visit,
            told: .done(
                "webhooks",
                """
                <p>Added. What is sent there is signed with this secret, which is shown this once:</p><pre tabindex="0"><code>\(secret)</code></pre>
                """))
    }

    @Sendable private static func removeWebhook(_ visit: Visit) throws -> ServerAnswer {
        try visit.desk.removeWebhook(visit.form.text("url"))
        return try show(visit, told: .done("webhooks", "It is told nothing any more."))
    }

    @Sendable private static func saveAddress(_ visit: Visit) throws -> ServerAnswer {
        let text = visit.form.text("address")
        let before = visit.core.consoleAddress ?? ""
        do { try visit.core.setConsoleAddress(text) } catch let error as HoldfastError where error.code == .usage {
            return try show(visit, told: .wrong("server", "Nothing was saved: \(error.message)"))
        }
        try note("server", [("address", before, text)], visit)
        return try show(visit, told: .done("server", "Saved."))
    }
}
