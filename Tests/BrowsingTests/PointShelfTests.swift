import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Browsing

@Suite("Points that are open for the next who looks at them")
struct PointShelfTests {
    /// A vault with two points, and a shelf that is given the vault as it is now.
    private final class Place: Sendable {
        let fixture: VaultFixture
        let machine: MachineID
        let points: [PointID]
        let now: Mutex<LocalVault?>

        init() throws {
            fixture = try VaultFixture()
            let vault = try fixture.open { $0.access = .change }
            let joined = try fixture.join(vault)
            machine = joined.id
            let writer = try TestWriter(vault, joined)
            points = try (0..<2).map {
                try writer.backup([.file("/f", "\($0)")], time: Timestamp(seconds: 1_700_001_000 + Int64($0)))
            }
            writer.close()
            now = Mutex(vault)
        }

        func shelf() -> PointShelf {
            PointShelf(keys: fixture.keys) { [self] in
                guard let vault = now.withLock({ $0 }) else { throw HoldfastError(.busy, "let go of") }
                return vault
            }
        }
    }

    @Test("what is not looked at for two minutes is closed, and gives its contents and its vault back")
    func idle() throws {
        let place = try Place()
        let shelf = place.shelf()
        weak let seen = try shelf.point(place.points[0])
        shelf.closeIdle()
        #expect(shelf.openCount == 1 && seen != nil)
        shelf.closeIdle(at: .max)
        #expect(shelf.openCount == 0 && seen == nil)
        #expect(try shelf.point(place.points[0]).use { $0.point } == place.points[0])
    }

    @Test("whoever reads a point when all are closed goes on with it; then nothing holds the vault")
    func all() throws {
        let place = try Place()
        let shelf = place.shelf()
        weak let vault = place.now.withLock { $0 }
        _ = try shelf.point(place.points[1])
        _ = try shelf.records(of: place.machine).outline(of: place.points[1])
        let isRead = try shelf.point(place.points[0]).use { reader in
            place.now.withLock { $0 = nil }
            shelf.closeAll()
            return try reader.entry(of: #require(TreePath("/f"))) != nil
        }
        #expect(isRead && shelf.openCount == 0 && vault == nil)
        #expect(throws: HoldfastError.self) { try shelf.point(place.points[0]) }
        // Exclusively: nobody may have the catalog any more.
        #expect(try place.fixture.rebuild().points == 2)
    }

    @Test("a look at a few points of a machine does not take the place of what is remembered of another")
    func memories() throws {
        let place = try Place()
        let shelf = place.shelf()
        _ = try shelf.knownRecords(of: place.machine).outline(of: place.points[0])
        #expect(shelf.remembered.isEmpty)
        _ = try shelf.records(of: place.machine).outline(of: place.points[0])
        for _ in 0..<8 { _ = try shelf.knownRecords(of: .random()) }
        #expect(shelf.remembered == [place.machine])
    }

    @Test("what was opened of another vault is not used")
    func otherVault() throws {
        let place = try Place()
        let shelf = place.shelf()
        let before = try shelf.point(place.points[0])
        let next = try place.fixture.open { $0.access = .change }
        place.now.withLock { $0 = next }
        let after = try shelf.point(place.points[0])
        #expect(before !== after && shelf.openCount == 1)
        #expect(after.use { ($0.service as AnyObject) === next })
    }
}
