import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Policy
@testable import Server

@Suite("Limits of uploads", .serialized)
struct UploadLimitTests {
    /// A clock that goes when it is told to.
    private final class Clock: Sendable {
        let nanoseconds: Mutex<Int64>
        init(_ start: Int64) { nanoseconds = Mutex(start) }
        var now: Int64 { nanoseconds.withLock { $0 } }
        func advance(_ by: Int64) { nanoseconds.withLock { $0 += by } }
    }

    private static func windows(_ texts: String...) throws -> BandwidthWindows {
        BandwidthWindows(try texts.map { try BandwidthWindow.parse($0) })
    }

    /// Sends pieces as a transport does, and answers how many bytes went in the time.
    private static func send(_ limiter: UploadLimiter, _ clock: Clock, seconds: Int64) -> Int {
        let end = clock.now + seconds * 1_000_000_000
        var sent = 0
        while true {
            let piece = limiter.piece
            clock.advance(limiter.reserve(piece))
            if clock.now >= end { return sent }
            sent += piece
            // What is not limited takes a little time too.
            clock.advance(1_000_000)
        }
    }

    @Test("a limit holds in its window, another in the next, and none where there is none")
    func byWindow() throws {
        // Monday 2026-11-16, 07:59:50 UTC.
        let start = Timestamp(seconds: 1_794_815_990)
        let clock = Clock(start.nanoseconds)
        let limiter = UploadLimiter(wall: { clock.now }, monotonic: { clock.now })
        #expect(!limiter.isLimited && limiter.rate == nil && limiter.patience(for: 1_000_000) == 0)
        limiter.set(try Self.windows("8Mbit/s Mon-Fri 08:00-18:00", "800kbit/s Mon 08:10-08:20"), zone: .utc)
        #expect(limiter.isLimited && limiter.rate == nil)
        #expect(Self.send(limiter, clock, seconds: 9) > 50_000_000, "before the window there is no limit")
        clock.advance(2_000_000_000)
        #expect(limiter.rate == Rate(bytesPerSecond: 1_000_000))
        let fast = Self.send(limiter, clock, seconds: 60)
        #expect((58_000_000...62_000_000).contains(fast), "\(fast)")
        clock.advance(600_000_000_000)
        let slow = Self.send(limiter, clock, seconds: 60)
        #expect((5_800_000...6_200_000).contains(slow), "\(slow)")
        // A change holds at once, also for what is under way.
        limiter.set(BandwidthWindows(), zone: .utc)
        #expect(limiter.reserve(1_000_000) == 0)
    }

    @Test("a body of a slow link is given the time that it needs")
    func patience() throws {
        let limiter = UploadLimiter()
        limiter.set(try Self.windows("8kbit/s", "1Gbit/s Sun"), zone: .utc)
        #expect(limiter.patience(for: 16 << 20) > 33_000)
        #expect(limiter.patience(for: 16 << 20) < 40_000)
    }

    @Test("2 Mbit/s are held within a tenth on a real connection, by several packs, and other requests are not held up")
    func measured() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol("ann")
            let connection = ServerConnection(machine.credentials)
            connection.uploads.set(try Self.windows("2Mbit/s"), zone: .utc)
            let remote = RemoteVault(connection, vault: server.core.vaultID)
            let writer = try TestWriter(
                remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            var generator = SystemRandomNumberGenerator()
            let texts = (0..<6).map { _ in
                String(
                    decoding: (0..<300_000).map { _ in UInt8.random(in: 0x20...0x7E, using: &generator) }, as: UTF8.self
                )
            }
            // What is asked beside it is answered at once.
            let longest = Mutex<Int64>(0)
            let isDone = Mutex(false)
            let asker = try WorkerThread(name: "asker") {
                while !isDone.withLock({ $0 }) {
                    let begun = SystemClock.monotonic
                    _ = try? remote.points(PointQuery())
                    let took = SystemClock.monotonic - begun
                    longest.withLock { $0 = max($0, took) }
                    SystemClock.pause(milliseconds: 200)
                }
            }
            let begun = SystemClock.monotonic
            _ = try writer.backup(texts)
            let seconds = Double(SystemClock.monotonic - begun) / 1e9
            isDone.withLock { $0 = true }
            asker.join()
            let statistics = try server.core.vault.catalog.statistics()
            let bytes = Double(statistics.data.bytes + statistics.meta.bytes)
            #expect(bytes > 1_000_000, "\(bytes)")
            let rate = (bytes - 65_536) * 8 / seconds
            print("2 Mbit/s: \(Int(bytes)) bytes in \(seconds) s, \(Int(rate)) bit/s")
            #expect((1_800_000...2_200_000).contains(rate), "\(rate)")
            #expect(longest.withLock { $0 } < 2_000_000_000)
        }
    }
}
