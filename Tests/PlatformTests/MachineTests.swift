import Foundation
import Platform
import Testing

@Suite struct MachineTests {
    @Test("accounts are found by number and by name, and missing ones are empty")
    func accounts() {
        #expect(Accounts.userName(0) == Array("root".utf8))
        #expect(Accounts.userName(0) == Array("root".utf8))
        #expect(Accounts.groupName(0) == Array("root".utf8))
        #expect(Accounts.uid(Array("root".utf8)) == 0)
        #expect(Accounts.gid(Array("root".utf8)) == 0)
        #expect(Accounts.userName(3_999_999_999) == [])
        #expect(Accounts.uid(Array("nobody-has-this-name".utf8)) == nil)
        #expect(Accounts.uid([]) == nil)
        #expect(Accounts.gid([0x61, 0]) == nil)
        #expect(Accounts.uid([0xFF, 0xFE]) == nil)
        Accounts.forget()
        #expect(Accounts.userName(0) == Array("root".utf8))
    }

    @Test("an exclusive lock keeps others out until it is released, shared ones keep out exclusive ones")
    func locks() throws {
        let directory = try TemporaryDirectory()
        /// Whether the lock could be had at this moment.
        func canLock(shared: Bool = false) throws -> Bool {
            guard let lock = try FileLock.acquire(at: directory.raw, "lock", shared: shared) else { return false }
            lock.release()
            return true
        }
        #expect(try !FileLock.isHeld(at: directory.raw, "lock"))
        guard let first = try FileLock.acquire(at: directory.raw, "lock") else { throw Errno.again }
        #expect(try FileLock.isHeld(at: directory.raw, "lock"))
        #expect(try !canLock())
        #expect(try !canLock(shared: true))
        try first.descriptor.writeAll([1])
        first.release()
        #expect(try !FileLock.isHeld(at: directory.raw, "lock"))
        guard let one = try FileLock.acquire(at: directory.raw, "lock", shared: true),
            let two = try FileLock.acquire(at: directory.raw, "lock", shared: true)
        else { throw Errno.again }
        #expect(try !canLock())
        one.release()
        #expect(try !canLock())
        #expect(try canLock(shared: true))
        two.release()
        #expect(try canLock())
    }

    @Test("facts of the machine")
    func facts() throws {
        #expect(!Machine.hostName.isEmpty)
        #expect(Machine.bootID?.count == 16)
        #expect(Machine.machineID == nil || Machine.machineID?.count == 16)
        #expect(Machine.processorCount >= 1)
        #expect(!Machine.timeZoneName.isEmpty && !Machine.timeZoneName.contains("zoneinfo"))
        #expect(abs(Double(SystemClock.wall) / 1e9 - Date().timeIntervalSince1970) < 5)
        let before = SystemClock.monotonic
        #expect(SystemClock.monotonic >= before && SystemClock.sinceBoot > 0 && SystemClock.processCPU > 0)
        #expect(ProcessLimits.raiseOpenFiles() >= 256)
        let memory = ProcessLimits.currentMemory
        #expect(memory > 1 << 20 && ProcessLimits.peakMemory >= memory)
        #expect(Terminal.width(-1) == 80)
        let null = try FileDescriptor.open("/dev/null", .readOnly)
        #expect(!Terminal.isTerminal(null.raw))
    }
}
