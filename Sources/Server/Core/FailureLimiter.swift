import Platform
import Synchronization

/// Bounds how often one address may present tokens and enrolment codes that do not hold.
///
/// Tokens have 256 random bits, so nobody finds one by trying; this keeps those who try from costing anything and from
/// filling the log. Requests that are signed with a machine's key are not bounded: a thousand machines may share one address,
/// and one of them that goes wrong must not stop the others.
final class FailureLimiter: Sendable {
    private struct Account {
        /// Failures that are still free, in thousandths.
        var credit: Int64
        var updated: Int64
    }

    private let accounts = Mutex<[String: Account]>([:])
    private let burst: Int64
    private let perMinute: Int64
    private let now: @Sendable () -> Int64

    /// Addresses that are remembered: beyond, those whose credit is whole or fullest are forgotten.
    static let maximumAccounts = 8_192

    init(burst: Int = 20, perMinute: Int = 10, now: @escaping @Sendable () -> Int64 = { SystemClock.monotonic }) {
        self.burst = Int64(burst) * 1_000
        self.perMinute = Int64(perMinute) * 1_000
        self.now = now
    }

    /// Seconds to wait when `address` has failed too often; `nil` when it may try.
    func wait(_ address: String) -> Int? { accounts.withLock { seconds(address, $0) } }

    func fail(_ address: String) { accounts.withLock { charge(address, &$0) } }

    /// Takes a failure before it is known whether it is one: a crowd of guesses at once is as bounded as one after the other. Who
    /// turns out to be right is given it back. Answers the seconds to wait, and takes nothing, when there were too many.
    func enter(_ address: String) -> Int? {
        accounts.withLock { accounts in
            if let seconds = seconds(address, accounts) { return seconds }
            charge(address, &accounts)
            return nil
        }
    }

    /// What was taken for a failure was none.
    func giveBack(_ address: String) {
        accounts.withLock { accounts in
            guard var account = accounts[address] else { return }
            account.credit = min(refilled(account) + 1_000, burst)
            account.updated = now()
            accounts[address] = account
        }
    }

    private func seconds(_ address: String, _ accounts: [String: Account]) -> Int? {
        guard let account = accounts[address] else { return nil }
        let credit = refilled(account)
        return credit >= 1_000 ? nil : Int((1_000 - credit) * 60 / perMinute) + 1
    }

    private func charge(_ address: String, _ accounts: inout [String: Account]) {
        var account = accounts[address] ?? Account(credit: burst, updated: now())
        account.credit = max(refilled(account) - 1_000, 0)
        account.updated = now()
        if accounts[address] == nil, accounts.count >= Self.maximumAccounts { forget(&accounts) }
        accounts[address] = account
    }

    private func refilled(_ account: Account) -> Int64 {
        let elapsed = max(now() - account.updated, 0) / 1_000_000
        return min(burst, account.credit + elapsed * perMinute / 60_000)
    }

    private func forget(_ accounts: inout [String: Account]) {
        accounts = accounts.filter { refilled($0.value) < burst }
        guard accounts.count >= Self.maximumAccounts else { return }
        for (address, _) in accounts.sorted(by: { refilled($0.value) > refilled($1.value) }).prefix(accounts.count / 4)
        {
            accounts[address] = nil
        }
    }
}

/// Bounds guesses at one account: narrowly from one address, and widely from all together, so that who guesses from one place keeps
/// nobody else from signing in.
final class GuessLimiter: Sendable {
    private let narrow: FailureLimiter
    private let wide: FailureLimiter

    init(now: @escaping @Sendable () -> Int64 = { SystemClock.monotonic }) {
        narrow = FailureLimiter(burst: 10, perMinute: 2, now: now)
        wide = FailureLimiter(burst: 60, perMinute: 6, now: now)
    }

    /// Seconds to wait when there were too many wrong ones; `nil` when it was let in, and counts as wrong until it is given back.
    func enter(_ name: String, from address: String) -> Int? {
        let place = "\(address) \(name)"
        if let seconds = narrow.enter(place) { return seconds }
        guard let seconds = wide.enter(name) else { return nil }
        narrow.giveBack(place)
        return seconds
    }

    func giveBack(_ name: String, from address: String) {
        narrow.giveBack("\(address) \(name)")
        wide.giveBack(name)
    }
}
