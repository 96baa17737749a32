//! An account in shared memory, with a lock of its own. A payment needs two accounts, and so two
//! locks.

use crate::stage::{Attempt, Failure, nap, patience};
use forkchat_server::ipc::mutex::{Mutex, or_later};
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::memory::map_shared;
use std::time::Duration;

const COINS: u64 = 100;

/// An account. A copy is the same account.
#[derive(Clone, Copy)]
pub struct Account {
    pub number: u32,
    pub coins: Value,
    pub lock: &'static Mutex,
}

/// Which of the two locks a payment takes first.
#[derive(Clone, Copy, PartialEq)]
pub enum Order {
    /// That of the account that pays. Two payments in opposite directions have opposite orders.
    PayerFirst,
    /// That of the account with the lower number. All payments have the same order.
    ByNumber,
}

impl Account {
    /// Opens an account, to be shared with the processes that are started afterwards.
    pub fn open(number: u32) -> Result<Account, Failure> {
        let lock = map_shared::<Mutex>("example-lock").cannot("map a lock")?;
        lock.init().cannot("make a lock")?;
        let coins = Value::map("example-coins").cannot("map an account")?;
        coins.set(COINS);
        Ok(Account { number, coins, lock })
    }

    /// The pid of the process that holds the lock: each names itself by its pid when it locks. 0 if
    /// the lock is free.
    pub fn holder(self) -> u32 {
        self.lock.holder().map_or(0, |holder| holder.owner)
    }

    /// Pays one coin. False if the second lock was not free within `timeout`; then nothing was
    /// paid, and both locks are released.
    pub fn pay(self, payee: Account, order: Order, timeout: Duration) -> Result<bool, Failure> {
        let me = std::process::id();
        let is_payee_first = order == Order::ByNumber && payee.number < self.number;
        let (first, second) = if is_payee_first { (payee, self) } else { (self, payee) };
        let _first = first.lock.lock(me, patience()).cannot("take the first lock")?;
        // A process may lose the CPU anywhere. Here it does so every time, so a deadlock is not
        // left to chance.
        nap(1);
        let Some(_second) =
            or_later(second.lock.lock(me, timeout)).cannot("take the second lock")?
        else {
            return Ok(false);
        };
        self.coins.set(self.coins.get() - 1);
        payee.coins.set(payee.coins.get() + 1);
        Ok(true)
    }
}
