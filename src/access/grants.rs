//! Grants: which role may do what.
//!
//! A permission id such as `update-message-owner` names an action and, with `-owner`, asks that the resource be the
//! subject's own: the channel that one made, the message that one wrote. `-any-team` asks nothing more as long as there is
//! one team. A user's grants in a channel are those of the user role and of the channel role together.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::store::members::MEMBER_ROLE;

macro_rules! actions {
    ($($name:ident),* $(,)?) => {
        /// What can be allowed (the documented actions of chat).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($name),* }

        impl Action {
            pub const ALL: &[Action] = &[$(Action::$name),*];

            /// The documented name, `CreateMessage`.
            pub const fn name(self) -> &'static str {
                match self { $(Action::$name => stringify!($name)),* }
            }
        }
    };
}

actions! {
    AddLinks, AddOwnChannelMembership, BanChannelMember, CreateChannel, CreateDistinctChannelForOthers, CreateMessage,
    CreateAttachment, CreateMention, CreateReaction, CreateSystemMessage, DeleteChannel, DeleteReaction, FlagMessage,
    MuteChannel, PinMessage, ReadChannel, ReadChannelMembers, ReadDisabledChannel, ReadMessageFlags, RecreateChannel,
    RemoveOwnChannelMembership, SendCustomEvent, SkipChannelCooldown, SkipMessageModeration, TruncateChannel,
    UpdateChannel, UpdateChannelCooldown, UpdateChannelFrozen, UpdateChannelMembers, UploadAttachment, UseFrozenChannel,
    DeleteMessage, RunMessageAction, UnblockMessage, UpdateMessage, DeleteAttachment, BanUser, FlagUser, MuteUser,
    SearchUser, UpdateUser, UpdateUserRole, UpdateUserTeams, CreateRestrictedVisibilityMessage,
    ReadRestrictedVisibilityMessage, ReadFlagReports, UpdateFlagReport,
}

const _: () = assert!(Action::ALL.len() <= u64::BITS as usize);

impl Action {
    /// The name in permission ids, `create-message`.
    pub fn id(self) -> String {
        let mut id = String::new();
        for letter in self.name().chars() {
            if letter.is_ascii_uppercase() && !id.is_empty() {
                id.push('-');
            }
            id.push(letter.to_ascii_lowercase());
        }
        id
    }

    /// Does it change nothing?
    pub const fn only_reads(self) -> bool {
        matches!(
            self,
            Self::ReadChannel
                | Self::ReadChannelMembers
                | Self::ReadDisabledChannel
                | Self::ReadRestrictedVisibilityMessage
        )
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

static ACTIONS_BY_ID: LazyLock<HashMap<String, Action>> =
    LazyLock::new(|| Action::ALL.iter().map(|action| (action.id(), *action)).collect());

/// A permission id taken apart; `None` for ids of other products (calls).
fn parse(id: &str) -> Option<(Action, bool)> {
    let id = id.strip_suffix("-any-team").unwrap_or(id);
    match id.strip_suffix("-owner") {
        Some(action) => ACTIONS_BY_ID.get(action).map(|action| (*action, true)),
        None => ACTIONS_BY_ID.get(id).map(|action| (*action, false)),
    }
}

/// What one role may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RoleGrants {
    any: u64,
    own: u64,
}

/// Permission ids by role, as the API shows them.
pub type GrantLists = BTreeMap<String, Vec<String>>;

/// Grants of a scope, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(HashMap<String, RoleGrants>);

impl Grants {
    pub fn compile(lists: &GrantLists) -> Self {
        let mut grants = Self::default();
        for (role, ids) in lists {
            let role = grants.0.entry(role.clone()).or_default();
            for (action, owner) in ids.iter().filter_map(|id| parse(id)) {
                if owner {
                    role.own |= action.bit();
                } else {
                    role.any |= action.bit();
                }
            }
        }
        grants
    }

    /// These grants with a channel's own: an id adds, `!id` takes away.
    pub fn modified(&self, modifiers: &GrantLists) -> Self {
        let mut grants = self.clone();
        for (role, ids) in modifiers {
            let role = grants.0.entry(role.clone()).or_default();
            for id in ids {
                let (revoke, id) = id.strip_prefix('!').map_or((false, id.as_str()), |id| (true, id));
                let Some((action, owner)) = parse(id) else { continue };
                let bits = if owner { &mut role.own } else { &mut role.any };
                if revoke {
                    *bits &= !action.bit();
                } else {
                    *bits |= action.bit();
                }
            }
        }
        grants
    }

    /// May somebody with these roles do it, with a resource that is theirs or not?
    pub fn allow<'a>(&self, roles: impl IntoIterator<Item = &'a str>, action: Action, owner: bool) -> bool {
        roles
            .into_iter()
            .filter_map(|role| self.0.get(role))
            .any(|role| role.any & action.bit() != 0 || (owner && role.own & action.bit() != 0))
    }

    /// May somebody with this channel role less than other members?
    pub fn restrict(&self, role: &str) -> bool {
        let of = |role: &str| self.0.get(role).copied().unwrap_or_default();
        let (this, others) = (of(role), of(MEMBER_ROLE));
        others.any & !this.any != 0 || others.own & !(this.own | this.any) != 0
    }

    /// Roles that may do it with every resource, and those that may with their own.
    pub fn roles_allowed(&self, action: Action) -> impl Iterator<Item = (&str, bool, bool)> {
        self.0
            .iter()
            .map(move |(role, grants)| (role.as_str(), grants.any & action.bit() != 0, grants.own & action.bit() != 0))
    }
}

/// The documented default grants by scope: `.app` and the built-in channel types.
pub static DEFAULT_GRANTS: LazyLock<HashMap<String, GrantLists>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        grants: HashMap<String, BTreeMap<String, String>>,
    }
    let file: File =
        serde_json::from_str(include_str!("default_grants.json")).expect("the file is part of the program");
    let split = |ids: String| ids.split(' ').map(ToOwned::to_owned).collect();
    let scope = |roles: BTreeMap<String, String>| roles.into_iter().map(|(role, ids)| (role, split(ids))).collect();
    file.grants.into_iter().map(|(name, roles)| (name, scope(roles))).collect()
});

/// Default grants of a channel type; types that were made here begin with those of `messaging`.
pub fn default_grants(channel_type: &str) -> &'static GrantLists {
    DEFAULT_GRANTS.get(channel_type).unwrap_or_else(|| &DEFAULT_GRANTS["messaging"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_documented_ones() {
        assert_eq!(Action::CreateMessage.id(), "create-message");
        assert_eq!(parse("update-channel-members-owner"), Some((Action::UpdateChannelMembers, true)));
        assert_eq!(parse("delete-channel-owner-any-team"), Some((Action::DeleteChannel, true)));
        assert_eq!(parse("join-call"), None);
        for roles in DEFAULT_GRANTS.values() {
            for id in roles.values().flatten() {
                assert!(parse(id).is_some() || id.ends_with("-call"), "{id}");
            }
        }
    }

    #[test]
    fn roles_add_up_and_own_things_need_less() {
        let grants = Grants::compile(default_grants("messaging"));
        assert!(!grants.allow(["user"], Action::ReadChannel, false));
        assert!(grants.allow(["user"], Action::ReadChannel, true));
        assert!(grants.allow(["user", "channel_member"], Action::ReadChannel, false));
        assert!(!grants.allow(["user", "channel_member"], Action::UpdateMessage, false));
        assert!(grants.allow(["user", "channel_member"], Action::UpdateMessage, true));
        assert!(grants.allow(["user", "channel_moderator"], Action::UpdateMessage, false));
        assert!(!grants.allow(["nobody"], Action::ReadChannel, true));
    }

    #[test]
    fn a_role_restricts_that_may_less_than_others() {
        let grants = Grants::compile(default_grants("messaging"));
        assert!(!grants.restrict(MEMBER_ROLE) && !grants.restrict("channel_moderator"));
        let modifiers = BTreeMap::from([("reader".to_owned(), vec!["read-channel".to_owned()])]);
        assert!(grants.restrict("nobody") && grants.modified(&modifiers).restrict("reader"));
    }

    #[test]
    fn a_channel_can_give_and_take() {
        let grants = Grants::compile(default_grants("livestream"));
        let modifiers = BTreeMap::from([("user".to_owned(), vec!["!add-links".to_owned(), "pin-message".to_owned()])]);
        let modified = grants.modified(&modifiers);
        assert!(grants.allow(["user"], Action::AddLinks, false) && !modified.allow(["user"], Action::AddLinks, false));
        assert!(
            !grants.allow(["user"], Action::PinMessage, false) && modified.allow(["user"], Action::PinMessage, false)
        );
        assert!(modified.allow(["user"], Action::ReadChannel, false));
    }
}
