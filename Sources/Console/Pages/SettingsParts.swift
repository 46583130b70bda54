import Catalog
import Client
import Model
import Server
import Vault

/// The parts of the page about settings.
enum SettingsParts {
    typealias Told = SettingsPages.Told

    // MARK: Mail

    static func mail(_ settings: AlertSettings, _ visit: Visit, _ told: Told?, _ mayChange: Bool) -> HTML {
        let (waiting, failure) = visit.core.alertMail()
        let trouble: HTML? = failure.map {
            "<p class=\"error\">The last message was not delivered: \($0) It is tried again for some hours.</p>"
        }
        let wait: HTML? =
            waiting > 0
            ? "<p class=\"note\">\(Units.count(waiting, "message")) \(waiting == 1 ? "waits" : "wait") to be delivered.</p>"
            : nil
        let submission = settings.submission
        if !mayChange {
            let way = submission.map { "\($0.host), port \($0.port)" } ?? settings.sendmail
            return """
                <section id="mail"><h2>Mail</h2>\(trouble)<p>To \(settings.mailTo.isEmpty ? "nobody" : settings.mailTo.joined(separator: ", ")), by \(way).</p></section>
                """
        }
        let kinds: [(MailSubmission.Security, String)] = [
            (.upgrade, "STARTTLS, usually port 587"), (.implicit, "TLS from the first byte, usually port 465"),
            (.none, "none: a mail server on this machine"),
        ]
        let security: [HTML] = kinds.map { kind, title in
            "<option value=\"\(kind.rawValue)\"\(submission?.security == kind ? " selected" : .nothing)>\(title)</option>"
        }
        let known: HTML = submission?.password == nil ? "" : "kept; type another to change it"
        return """
            <section id="mail"><h2>Mail</h2>\(told?.show(at: "mail"))\(trouble)\(wait)
            <p class="hint">Alerts go out by mail when they are raised and when they are over. Weekly reports are set <a href="/reports#weekly">under Reports</a>.</p>
            <form method="post" action="/settings/mail" class="form">\(Piece.formToken(visit))
            <label>To (addresses with commas between them)<input name="to" value="\(settings.mailTo.joined(separator: ", "))" inputmode="email" autocapitalize="none"></label>
            <label>From (empty: \(submission == nil ? "the system's own" : "holdfast@ this machine"))<input name="from" value="\(settings.mailFrom ?? "")" inputmode="email" autocapitalize="none"></label>
            <fieldset><legend>By</legend>
            <label class="line"><input type="radio" name="way" value="program"\(submission == nil ? " checked" : .nothing)> <span>the system's mail program, <code>\(settings.sendmail)</code></span></label>
            <label class="line"><input type="radio" name="way" value="server"\(submission == nil ? .nothing : " checked")> a mail server (SMTP):</label>
            <div class="inner"><label>Its name<input name="host" value="\(submission?.host ?? "")" autocapitalize="none" placeholder="mail.example.org"></label>
            <label>Encryption<select name="security">\(security)</select></label>
            <label>Port (empty: the usual)<input name="port" type="number" min="1" max="65535" value="\(submission.map { "\($0.port)" } ?? "")"></label>
            <label>User, if it asks for one<input name="user" value="\(submission?.user ?? "")" autocomplete="off" autocapitalize="none"></label>
            <label>Password<input name="password" type="password" autocomplete="new-password" placeholder="\(known)"></label></div></fieldset>
            <div class="actions"><button class="main" name="do" value="test">Save and send a test</button><button name="do" value="save">Save</button></div></form></section>
            """
    }

    // MARK: Alerts

    static func thresholds(_ settings: AlertSettings, _ visit: Visit, _ told: Told?, _ mayChange: Bool) -> HTML {
        let (hours, minutes) = (max(settings.silentSeconds / 3_600, 1), max(settings.lagSeconds / 60, 1))
        if !mayChange {
            return """
                <section id="thresholds"><h2>Alerts</h2><p>A machine is silent after \(hours) hours, and behind after \(minutes) minutes.</p></section>
                """
        }
        return """
            <section id="thresholds"><h2>Alerts</h2>\(told?.show(at: "thresholds"))
            <p class="hint">Where a policy says <code>expected</code>, that holds instead.</p>
            <form method="post" action="/settings/alerts" class="form">\(Piece.formToken(visit))
            <label>A machine is silent when nothing was heard of it for so many hours<input name="silent" type="number" min="1" max="8760" value="\(hours)" required></label>
            <label>It is behind when a change waits for so many minutes<input name="lag" type="number" min="1" max="525600" value="\(minutes)" required></label>
            <label>Heartbeat: an address that is called every minute, for who watches this server<input name="heartbeat" value="\(settings.heartbeat ?? "")" inputmode="url" \
            autocapitalize="none" placeholder="https://watch.example.org/ping/…"></label>
            <div class="actions"><button class="main">Save</button></div></form></section>
            """
    }

    static func webhooks(_ settings: AlertSettings, _ visit: Visit, _ told: Told?, _ mayChange: Bool) -> HTML {
        let rows: [HTML] = settings.webhooks.map { hook in
            let remove: HTML? =
                mayChange
                ? """
                <form method="post" action="/settings/webhooks/remove">\(Piece.formToken(visit))<input type="hidden" name="url" value="\(hook.url)">\
                <button class="quiet" aria-label="Remove \(hook.url)">Remove</button></form>
                """ : nil
            return "<tr><th scope=\"row\"><code>\(hook.url)</code></th><td>\(remove)</td></tr>"
        }
        let table: HTML =
            rows.isEmpty
            ? "<p>None. A webhook gets each alert as JSON: for chat rooms, pagers, and programs of your own.</p>"
            : "<table class=\"plain\"><tbody>\(rows)</tbody></table>"
        let form: HTML? =
            mayChange
            ? """
            <form method="post" action="/settings/webhooks" class="filter">\(Piece.formToken(visit))<label>Add one<input name="url" inputmode="url" size="40" \
            autocapitalize="none" placeholder="https://chat.example.org/hooks/7" required></label><button>Add</button></form>
            """ : nil
        return "<section id=\"webhooks\"><h2>Webhooks</h2>\(told?.show(at: "webhooks"))\(table)\(form)</section>"
    }

    // MARK: The server

    static func server(_ visit: Visit, _ told: Told?, _ mayChange: Bool) -> HTML {
        let checks: [HTML] = visit.core.healthReasons().filter { !$0.isWell }.map {
            "<li>\(Piece.state("warn", $0.name)) \(Piece.prose($0.reason))</li>"
        }
        let health: HTML =
            checks.isEmpty
            ? "<p>\(Piece.state("good", "All checks are well"))</p>" : "<ul class=\"states\">\(checks)</ul>"
        let address = visit.core.consoleAddress ?? ""
        let form: HTML? =
            mayChange
            ? """
            <form method="post" action="/settings/address" class="form">\(Piece.formToken(visit))
            <label>By what address people reach this console; it stands in mails<input name="address" value="\(address)" placeholder="\(visit.origin)" inputmode="url" autocapitalize="none"></label>
            <div class="actions"><button>Save</button></div></form>
            """ : nil
        return """
            <section id="server"><h2>This server</h2>\(told?.show(at: "server"))\(health)<dl class="facts small">
            <div><dt>Name</dt><dd>\(visit.core.title)</dd></div><div><dt>Version</dt><dd>\(ProgramVersion.current)</dd></div>
            <div><dt>You reach it by</dt><dd>\(visit.origin)</dd></div>\(address.isEmpty ? .nothing : "<div><dt>Address in mails</dt><dd>\(address)</dd></div>")
            <div><dt>Server</dt><dd><code>\(visit.core.identity.id.hex)</code></dd></div>
            <div><dt>Identity key</dt><dd><code>\(visit.core.identity.key.verifyingKey.description)</code></dd></div>
            <div><dt>Vault</dt><dd><code>\(visit.core.vaultID.hex)</code></dd></div></dl>\(form)</section>
            """
    }

    static func certificate(_ visit: Visit) -> HTML {
        guard let facts = visit.core.certificateFacts() else {
            return """
                <section id="certificate"><h2>Certificate</h2><p>The certificate cannot be read here; look at it in the file that was given with <code>--certificate</code>.</p></section>
                """
        }
        let days = facts.ends.since(visit.now) / 86_400_000_000_000
        let left: HTML =
            days < 0
            ? Piece.state("bad", "its time is over")
            : days < 14 ? Piece.state("warn", "\(Units.count(days, "day")) left") : "\(Units.count(days, "day")) left"
        let origin: HTML =
            facts.isOwn
            ? """
            The server made it itself and makes it anew thirty days before its end. Machines believe the server's identity key, not this certificate; \
            browsers warn of it until you give the server one that they believe: <code>holdfast server run --certificate FILE --certificate-key FILE</code>.
            """
            : "It was given to the server, which reads the file again when it changes: whoever renews it need not start anything."
        let names = facts.names.isEmpty ? "none" : facts.names.joined(separator: ", ")
        return """
            <section id="certificate"><h2>Certificate</h2><dl class="facts small"><div><dt>Ends</dt><dd>\(TimeText.localMinute(facts.ends, in: visit.zone))<small>\(left)</small></dd></div>
            <div><dt>Names</dt><dd>\(names)</dd></div><div><dt>SHA-256</dt><dd><code class="long">\(facts.fingerprint)</code></dd></div></dl>
            <p class="hint">\(origin)</p></section>
            """
    }

    static func storage(_ visit: Visit) -> HTML {
        guard let (holds, space) = try? visit.core.usage() else {
            return
                "<section id=\"storage\"><h2>Storage</h2><p class=\"error\">The vault cannot be looked at now. Is its drive there?</p></section>"
        }
        let stored = holds.data.bytes + holds.meta.bytes + holds.records.bytes
        let outlook = visit.core.usageHistory().outlook
        let room: HTML? = space.map { space in
            let used = space.total - min(space.available, space.total)
            return """
                <div><dt>Room left</dt><dd>\(Piece.size(space.available))<small>of \(Units.binarySize(space.total))</small>\
                <meter min="0" max="\(max(space.total, 1))" high="\(space.total / 20 * 19)" value="\(used)" aria-label="How full the disk is"></meter></dd></div>
                """
        }
        return """
            <section id="storage"><h2>Storage</h2><dl class="facts"><div><dt>Stored</dt><dd><a href="/vault">\(Piece.size(stored))</a></dd></div>\(room)
            <div><dt>Full in</dt><dd><a href="/vault">\(OverviewPage.fullIn(outlook))</a></dd></div></dl><p class="hint">The vault \(ReportText.words(outlook)). An alert is raised when \
            less than a twentieth of the disk is free.</p></section>
            """
    }

    static func packages(_ visit: Visit, title: String = "Updates") -> HTML {
        let (packages, problems) = visit.core.packagesOnOffer
        var versions: [String: Int] = [:]
        for machine in (try? visit.machines()) ?? [] where machine.state == .active {
            if let program = visit.core.overview(of: machine).report?.program { versions[program, default: 0] += 1 }
        }
        let agents: [HTML] = versions.sorted { $0.key > $1.key }.map { program, count in
            "<li><a href=\"/machines?agent=\(Address.encode(program))\">\(Units.count(count, "machine"))</a> with \(program)</li>"
        }
        let offered: [HTML] = packages.map { package in
            "<tr><th scope=\"row\"><code>\(package.name)</code></th><td>\(package.version)</td><td>\(package.architecture)</td><td class=\"number\">\(Piece.size(package.size))</td></tr>"
        }
        let wrong: [HTML] = problems.map { "<p class=\"error\">\($0)</p>" }
        let table: HTML =
            offered.isEmpty
            ? """
            <p>No packages of version \(ProgramVersion.current) lie in <code>/usr/share/holdfast/packages</code>: the line that enrols machines works where Holdfast is \
            installed already. Install the package <code>holdfast-packages</code>, or name a directory with <code>--packages</code>.</p>
            """
            : "<table class=\"plain\"><tbody>\(offered)</tbody></table><p class=\"hint\">Machines that are enrolled get these. They are looked at when the server starts.</p>"
        let known: HTML = agents.isEmpty ? .nothing : "<h3>On machines</h3><ul class=\"names\">\(agents)</ul>"
        return """
            <section id="packages"><h2>\(title)</h2><p>This server is version \(ProgramVersion.current). It asks nobody for newer ones: they come with the system's packages.</p>
            \(wrong)\(table)\(known)</section>
            """
    }

    // MARK: If this machine is lost

    static func recovery(_ visit: Visit) throws -> HTML {
        let isChecked = try visit.core.isSheetChecked()
        let command = visit.may(.manageSettings) ? visit.core.sheetCommand : "holdfast server check-sheet"
        let safety = visit.core.ownSafety()
        let sheet: HTML =
            visit.core.keys == nil
            ? "<p>The vault belongs to its owners alone: only they have its key sheet.</p>"
            : isChecked
                ? "<p>\(Piece.state("good", "The key sheet was typed back")) It is there, and it is right.</p>"
                : """
                <p>\(Piece.state("warn", "The key sheet has not been checked")) Type it back once, on the server: <code>\(command)</code>. \
                Until then only one machine can enrol.</p>
                """
        let own: HTML
        if !safety.isOn {
            own =
                "<p>\(Piece.state("warn", "Not in the vault")) This server cannot put its own state into an owner-only vault: copy its state directory somewhere safe yourself.</p>"
        } else if let failure = safety.failure {
            own =
                "<p>\(Piece.state("bad", "Not safe")) The server's own state could not be put into the vault: \(failure) It is tried again every minute.</p>"
        } else if safety.isComplete {
            own =
                "<p>\(Piece.state("good", "In the vault")) Machines, policies, settings and the identity of this server are safe as they are now.</p>"
        } else {
            own =
                "<p>\(Piece.state("warn", "Under way")) Something has changed just now, and is put into the vault within some minutes.</p>"
        }
        return """
            <section id="recovery"><h2>If this machine is lost</h2><h3>Key sheet</h3>\(sheet)<h3>The server's own state</h3>\(own)
            <h3>How it comes back</h3><p>On a new machine with Holdfast installed and the vault's drive attached:</p>
            <pre tabindex="0"><code>holdfast server recover --from /PATH/TO/VAULT --key-sheet FILE
            holdfast server run --vault /PATH/TO/VAULT</code></pre>
            <p class="hint">Machines go on by themselves when the new one has the old one's name. Try it before you need it.</p></section>
            """
    }
}
