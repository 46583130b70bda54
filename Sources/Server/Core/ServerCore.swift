package import Browsing
package import Catalog
import Client
package import Model
import Platform
import Synchronization
package import Vault

/// The server without its sockets: who may do what, and what is then done. Calls block; the HTTP layer makes them on threads
/// of its own.
package final class ServerCore: Sendable {
    package let identity: ServerIdentity
    /// The vault's keys; `nil` in an owner-only vault, which this server cannot open.
    package let keys: VaultKeys?
    package let catalog: any ServerCatalog
    /// What the server does for its own safety with its exported state; `nil`: nothing. Calls block for as long as a small
    /// backup takes.
    package let protect: (@Sendable (ServerExport, LocalVault) throws -> Void)?
    let leases: LeaseKeeper
    let jobs: JobRunner
    let metrics = ServerMetrics()
    let bell = OrderBell()
    let pages = PointPages()
    let housekeeping = Mutex(HousekeepingState())
    /// Pages that are kept fresh.
    /// Pages that are kept fresh, by account: each costs a connection and a look at some counters every second, and no thread.
    package let views = Turnstile(maximum: 512, ofHolder: 24)
    /// Bodies that are made while they are sent, by who asked: each costs a thread and an open point.
    package let streams = Turnstile(maximum: 24, ofHolder: 6)
    let reportFailure = Mutex<String?>(nil)
    private let reportDue = Mutex<Int64>(0)
    let knownRevision = Mutex<(number: Int64, time: Timestamp)>((0, Timestamp(nanoseconds: 0)))
    private let lastEpoch = Mutex<Int64?>(nil)
    let clock: @Sendable () -> Timestamp
    let holder: VaultHolder
    /// Where the vault lies, for what is done to it while nobody uses it.
    let vaultPath: [UInt8]?
    /// What is typed on this server's machine to say the words of the key sheet; for administrators only, paths stand in it.
    package let sheetCommand: String
    /// The certificate (PEM) that is shown, and whether clients are told to believe exactly it.
    let shownCertificate: Mutex<String?>
    private let pinsCertificate: Bool
    /// One enrolment at a time: of two that come at once for what is left of something, one gets it.
    let enrolling = Mutex<Void>(())
    let lastHealth = Mutex(HealthMemory())
    let protectionFailure = Mutex<String?>(nil)
    private let protection = Mutex(ProtectionPace())
    private let isServing = Mutex(false)
    let metricsAreOpen: Bool
    /// What machines say of themselves, and what somebody should know of.
    let life: MachineLife
    /// People.
    package let accounts: AccountBook
    /// Open points, and names of files, for people who look for some.
    package let shelf: PointShelf
    /// Restores on machines that somebody has ordered.
    package let restores: RestoreOrderBook
    let alerts: AlertBook
    let dispatcher: AlertDispatcher
    let alertSettings: Shared<AlertSettings>
    let mutes: AlertMutes
    /// Machines of which something is in the vault, as far as somebody has looked.
    let stored = Mutex<Set<MachineID>>([])
    let policyObjectives = Mutex(PolicyObjectives())
    /// What machines are given that have nothing yet, and how many are given it at once.
    let offer: PackageOffer
    let downloads = Admission(requests: 64, bytes: 0)
    /// One looks at a time: of two that see the same mass change one places the hold.
    let lookingForAlerts = Mutex<Void>(())
    private let alertsDue = Mutex<(next: Int64, nextAll: Int64)>((0, 0))

    /// - Parameters:
    ///   - ownCertificate: the certificate (PEM) that this server made for itself; `nil` when one of a certificate authority
    ///     was given, which clients then check like a browser.
    ///   - vaultPath: where the vault lies.
    ///   - sheetCommand: what is typed on this machine to say the words of the key sheet.
    ///   - offer: packages for machines that are to be protected.
    package init(
        identity: ServerIdentity, vault: LocalVault, keys: VaultKeys?, catalog: any ServerCatalog,
        ownCertificate: String?, leaseSeconds: Int = 600, vaultPath: [UInt8]? = nil,
        sheetCommand: String = "holdfast server check-sheet", metricsAreOpen: Bool = false,
        offer: PackageOffer = .nothing,
        clock: @escaping @Sendable () -> Timestamp = { Timestamp(nanoseconds: SystemClock.wall) },
        protect: (@Sendable (ServerExport, LocalVault) throws -> Void)? = nil
    ) {
        self.identity = identity
        self.keys = keys
        self.catalog = catalog
        self.vaultPath = vaultPath
        self.sheetCommand = sheetCommand
        self.clock = clock
        self.protect = protect
        self.metricsAreOpen = metricsAreOpen
        self.offer = offer
        shownCertificate = Mutex(ownCertificate)
        pinsCertificate = ownCertificate != nil
        let domain = keys.map { $0.domainSecret(domain: DomainSecret.vaultDomain, number: 1) }
        let holder = VaultHolder(vault) { vault in
            if let domain { vault.trust(domain) }
        }
        self.holder = holder
        leases = LeaseKeeper(seconds: leaseSeconds) { holder.current?.closeLease($0) }
        jobs = JobRunner(catalog, clock: clock)
        life = MachineLife(catalog)
        accounts = AccountBook(catalog, clock: clock)
        shelf = PointShelf(keys: keys) { try holder.get() }
        restores = RestoreOrderBook(catalog, clock: clock)
        let settings = Shared(AlertSettings())
        alertSettings = settings
        let mutes = AlertMutes(catalog, clock: clock)
        self.mutes = mutes
        alerts = AlertBook(catalog, clock: clock, isMuted: { mutes.covers($0) }) { settings.withLock { $0 }.targets }
        dispatcher = AlertDispatcher(
            catalog, server: identity.id, clock: clock, settings: { settings.withLock { $0 } },
            names: { [catalog] machine in (try? catalog.machine(machine))?.name })
    }

    /// The vault. Throws `busy` while its catalog is being made anew.
    package var vault: LocalVault { get throws { try holder.get() } }
    package var vaultID: VaultID { holder.id }

    /// What this server says of itself.
    var description: ServerDescription {
        ServerDescription(
            server: identity.id, key: identity.key.verifyingKey, version: ProgramVersion.current,
            certificate: pinsCertificate ? shownCertificate.withLock { $0 } : nil, vault: vaultID,
            time: clock().seconds)
    }

    /// Whether the server makes the certificate itself that it shows.
    var isCertificateOwn: Bool { pinsCertificate }

    /// Notes the certificate that is shown from now on.
    package func certificateChanged(_ pem: String) { shownCertificate.withLock { $0 = pem } }

    // MARK: Running

    /// To be called once by the process that serves, before it does: what an earlier one left running is not running.
    package func begin() throws {
        _ = try catalog.interruptJobs(at: clock())
        try noteScript()
        try life.load()
        try mutes.load()
        try alerts.load()
        refreshAlertSettings()
        restores.listen()
        dispatcher.start()
        housekeeping.withLock { $0.notices += offer.problems }
        expectByPolicy()
        isServing.withLock { $0 = true }
    }

    /// What has to be done from time to time.
    package func upkeep() {
        leases.sweep()
        holder.upkeep()
        shelf.closeIdle()
        protectIfChanged()
        ringIfChanged()
        if restores.sweep() { bell.ring(keepsPolicies: true) }
        if isServing.withLock({ $0 }) { keepHouse() }
        lookForAlertsIfDue()
        lookForReport()
    }

    /// Every ten minutes: handing a mail over may take a minute.
    private func lookForReport() {
        guard isServing.withLock({ $0 }) else { return }
        let isDue = reportDue.withLock { due in
            let now = SystemClock.monotonic
            defer { if now >= due { due = now + 600_000_000_000 } }
            return now >= due
        }
        // On a thread of its own: nothing else waits for a mail server.
        if isDue { _ = try? WorkerThread(name: "report") { [self] in sendReportIfDue(zone: SystemZones.current) } }
    }

    /// Machines every ten seconds, the server itself every minute.
    private func lookForAlertsIfDue() {
        guard isServing.withLock({ $0 }) else { return }
        alertsDue.withLock { due in
            let now = SystemClock.monotonic
            guard now >= due.next else { return }
            let isAll = now >= due.nextAll
            // What cannot be written down now is found again the next time.
            try? lookForAlerts(all: isAll)
            due.next = SystemClock.monotonic + 10_000_000_000
            if isAll {
                noteUsageIfDue()
                due.nextAll = SystemClock.monotonic + 60_000_000_000
            }
        }
    }

    /// Commands on this machine change policies in the database, and nobody tells this process.
    private func ringIfChanged() {
        guard let epoch = try? catalog.policyEpoch() else { return }
        let isNew = lastEpoch.withLock { last in
            defer { last = epoch }
            return last != epoch
        }
        if isNew { bell.ring() }
    }

    /// Ends jobs and leases: nothing is collected that a writer relied on before it knows.
    package func stop() {
        bell.close()
        jobs.stop()
        leases.endAll()
        dispatcher.stop()
        if isServing.withLock({ $0 }) { try? life.flush() }
        protectIfChanged(waits: false)
    }

    /// Puts what has changed into the vault. What fails is tried again every minute, and shows in the server's health.
    private func protectIfChanged(waits: Bool = true) {
        // One process does it: that which serves.
        guard let protect, isServing.withLock({ $0 }) else { return }
        protection.withLock { pace in
            guard !waits || pace.isDue(SystemClock.monotonic) else { return }
            do {
                let (number, safe) = try catalog.revision()
                if number == safe {
                    protectionFailure.withLock { $0 = nil }
                    return
                }
                try protect(try export(revision: number), try vault)
                try catalog.markSafe(number)
                pace.done(SystemClock.monotonic)
                protectionFailure.withLock { $0 = nil }
            } catch {
                let text = (error as? HoldfastError)?.message ?? "\(error)"
                protectionFailure.withLock { $0 = text }
                pace.failed(SystemClock.monotonic)
            }
        }
    }

    // MARK: Who asks

    /// Who a request is from, by its headers.
    package struct Sender: Sendable {
        package var principal: Principal
        /// In a signed request: the nonce and the body's hash that were signed.
        var nonce: RequestNonce?
        var body: Bytes32?
    }

    static let notAccepted = HoldfastError(.denied, "the server does not accept this signature or token")

    /// A key that nobody holds: checking with it takes as long as with a machine's.
    private static let nobody = SigningKey.random().verifyingKey

    /// Finds out who a request is from, before its body is there; the body must then have the hash in the answer.
    ///
    /// - Parameters:
    ///   - authorization: the header of that name.
    ///   - target: path and query as they were sent.
    /// - Throws: `denied` for a signature or token that does not hold, in the same words whatever is wrong; `clockUnknown` for
    ///   a time that is not this server's.
    package func signIn(
        authorization: String, method: String, target: String, address: String = ""
    ) throws -> Sender {
        guard authorization.utf8.count < 8_192, authorization.hasPrefix("Bearer ") else { throw Self.notAccepted }
        let text = String(authorization.dropFirst("Bearer ".count))
        if let unverified = RequestToken.parse(text) {
            let token = unverified.token
            let machine = try catalog.machine(token.machine)
            let isSigned = try isSigned(unverified, machine)
            if !isSigned, let waiting = machine?.waitingKey, unverified.verified(with: waiting) != nil {
                throw HoldfastError(
                    .denied,
                    "This machine came with the identity of another, and waits until an administrator has decided: it was "
                        + "installed anew, or is a copy. A copy that is to be a machine of its own enrols by "
                        + "`holdfast enrol --new-machine`.")
            }
            guard let machine, isSigned, machine.state == .active, token.server == identity.id,
                token.method == method, token.target == target
            else { throw Self.notAccepted }
            guard token.isTimely(at: clock().seconds) else {
                throw HoldfastError(
                    .clockUnknown, "the request is signed for another time than this server's", isTemporary: true)
            }
            try noteUse(unverified, of: machine)
            return Sender(principal: .machine(machine.id), nonce: token.nonce, body: token.body)
        }
        return Sender(principal: .person(try person(token: text, from: address)))
    }

    /// Who an access code or a token of an account belongs to. Throws `denied`, in the same words whatever is wrong.
    private func person(token text: String, from address: String) throws -> Person {
        // The look-up is by the hash of 256 random bits: how long it takes says nothing that helps.
        guard let hash = SecretToken.hash(text) else { throw Self.notAccepted }
        if let code = try catalog.token(hash: hash) {
            guard code.isValid(at: clock()), let person = Person(code) else { throw Self.notAccepted }
            return person
        }
        guard let person = try accounts.person(token: hash, from: address) else { throw Self.notAccepted }
        return person
    }

    private func isSigned(_ unverified: RequestToken.Unverified, _ machine: ManagedMachine?) throws -> Bool {
        if unverified.verified(with: machine?.key ?? Self.nobody) != nil { return machine != nil }
        guard let previous = machine?.previousKey else { return false }
        return unverified.verified(with: previous) != nil
    }

    /// Once the new key has been used, the one before opens nothing any more; and the machine was seen.
    private func noteUse(_ unverified: RequestToken.Unverified, of machine: ManagedMachine) throws {
        if machine.previousKey != nil, unverified.verified(with: machine.key) != nil {
            let parks = isCloned(machine.id)
            let signing = parks ? try vault.machineRecords(of: machine.id).max { $0.joined < $1.joined }?.key : nil
            try catalog.change(machine.id) { current in
                guard current.key == machine.key else { return }
                if let signing, current.waitingKey == nil {
                    current.waitingKey = current.previousKey
                    current.waitingSigning = signing
                }
                current.previousKey = nil
            }
            if parks { life.change(machine.id) { $0.isParked = true } }
        }
        let now = clock()
        if abs(now.since(machine.lastSeen)) > 60_000_000_000 { life.noteSeen(machine.id, at: now) }
    }

    // MARK: Who may

    /// Throws `denied` unless the request comes from `machine` itself, or from a person who has this right over it; without a machine
    /// from a person who has it over all machines.
    func require(_ request: ServerRequest, machine: MachineID?, or right: AccountRight = .manageSettings) throws {
        switch request.principal {
        case .machine(let id) where id == machine: return
        case .person(let person) where person.may(right):
            if person.seesAllMachines { return }
            guard let machine, let known = try catalog.machine(machine), person.covers(group: known.group) else {
                throw Self.notForYou
            }
        default: throw Self.notForYou
        }
    }

    /// The same whether the thing exists or not.
    static let notForYou = HoldfastError(
        .denied, "This is not for you to see or do.",
        context: [
            "hint":
                "It takes an access code of another role: `holdfast server access` on the server, then --token-file."
        ])

    /// Throws `notFound` unless the request is about this server's vault.
    func requireVault(_ request: ServerRequest) throws {
        guard try request.id("vault", as: VaultID.self) == vaultID else {
            throw HoldfastError(.notFound, "this server has no such vault")
        }
    }
}

extension AccessToken {
    /// Whether it still holds.
    func isValid(at now: Timestamp) -> Bool { (expires.map { now < $0 } ?? true) && (uses.map { $0 > 0 } ?? true) }
}

/// When the server puts its own state into safety: a change at once, and what goes on changing (a machine that has another name
/// in each report) ever more seldom, because every time is a copy of all of it.
struct ProtectionPace: Sendable {
    static let shortest: Int64 = 2_000_000_000
    static let longest: Int64 = 300_000_000_000
    private static let afterFailure: Int64 = 60_000_000_000

    private var due: Int64 = 0
    private var last: Int64?
    private var pause = ProtectionPace.shortest

    func isDue(_ now: Int64) -> Bool { now >= due }

    /// It was done: what changes now waits, twice as long as before unless it was quiet in between.
    mutating func done(_ now: Int64) {
        let goesOn = last.map { now - $0 <= 2 * pause + Self.shortest } ?? false
        pause = goesOn ? min(2 * pause, Self.longest) : Self.shortest
        last = now
        due = now + pause
    }

    mutating func failed(_ now: Int64) { due = now + Self.afterFailure }
}
