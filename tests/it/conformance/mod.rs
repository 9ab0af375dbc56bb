//! The contract of [`tidings::store::Store`], held against every store from one list.
//!
//! A case is a sentence and gets a fresh [`harness::Harness`]. A case that is written but not listed below is dead code and
//! fails the build.

#![deny(dead_code)]
mod harness;
mod property;
mod stores;

mod batch;
mod budget;
mod capacity;
mod commit;
mod deadline;
mod feed;
mod lead;
mod lease;
mod order;
mod output;
mod parked;
mod queue;
mod reading;
mod retention;
mod slot;
mod submit;
mod turns;

use std::time::Duration;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

macro_rules! cases {
    ($(on $stores:tt $cases:tt)+) => { $(cases!(@stores $stores $cases);)+ };
    (@stores [$($suite:ident: $store:ident),+] $cases:tt) => { $(cases!(@suite $suite $store $cases);)+ };
    (@suite $suite:ident $store:ident { $($room:ident { $($case:ident),+ $(,)? })+ }) => {
        mod $suite {
            $(mod $room {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let harness = super::super::stores::$store().await;
                    super::super::run(super::super::$room::$case(harness)).await;
                })+
            })+
        }
    };
}

cases! {
    on [model: model, embedded: embedded, redis: redis, redis_in_four: redis_in_four] {
        submit {
            a_refused_submit_leaves_nothing_behind,
            a_reader_sees_all_of_a_submit_or_nothing,
            a_task_is_found_as_it_was_given,
            a_thousand_tasks_are_accepted_in_one_call,
            hostile_text_comes_back_byte_for_byte,
            a_repeated_key_answers_what_it_first_made,
            a_key_reused_for_other_content_is_refused,
            a_repeated_key_is_answered_after_its_batch_has_closed,
            many_submits_at_once_with_one_key_make_one_batch,
            an_open_batch_takes_more_until_it_is_closed,
            an_unknown_batch_takes_nothing,
            a_retry_joins_a_closed_batch_and_leaves_it_closed,
        }
        queue {
            an_acquired_task_is_processing_under_its_worker,
            acquire_takes_no_more_than_asked_and_says_whether_there_may_be_more,
            workers_that_acquire_at_once_never_share_a_task,
            a_task_waits_for_its_not_before_and_the_store_says_how_long,
            a_retried_task_waits_until_it_is_due,
            a_cancelled_task_never_starts,
            a_cancelled_delayed_task_never_starts,
        }
        order {
            urgent_tasks_start_first,
            tasks_of_one_priority_start_in_order_of_submission,
            every_sixteenth_start_goes_to_the_least_urgent,
            a_large_acquire_ages_like_many_small_ones,
            delayed_tasks_start_in_the_order_in_which_they_become_due,
            released_tasks_return_to_the_head_in_their_order,
            tasks_of_a_lost_worker_return_to_the_head_in_their_order,
            a_task_retried_without_a_wait_joins_the_tail,
        }
        turns {
            a_small_batch_does_not_wait_for_a_large_one,
            batches_take_turns_however_many_are_asked_for,
            a_thousand_batches_of_one_task_start_in_order_of_submission,
            a_batch_with_new_tasks_joins_behind_the_others,
            tasks_given_back_go_to_the_head_of_their_batch,
            tasks_given_back_of_batches_without_others_start_next,
            a_task_retried_without_a_wait_goes_to_the_tail_of_its_batch,
            a_delayed_task_comes_first_in_its_batch_and_not_before_other_batches,
            a_task_that_cannot_start_uses_up_no_turn,
            turns_are_taken_within_a_priority,
            aged_starts_take_turns_too,
        }
        lease {
            an_expired_lease_is_overdue_and_a_fresh_one_is_not,
            a_renewed_lease_is_not_overdue,
            renewing_a_lost_lease_says_so_in_order,
            a_call_once_marked_as_sent_stays_so_until_the_task_moves,
            a_lease_renewed_since_it_was_read_is_not_reaped,
            a_live_lease_is_not_reaped,
            a_late_worker_is_fenced_off,
            progress_is_read_back_and_is_no_revision,
        }
        deadline {
            a_task_past_its_deadline_does_not_start,
            a_queued_task_past_its_deadline_is_overdue,
            a_delayed_task_past_its_deadline_is_overdue,
            a_running_task_past_its_deadline_is_overdue_under_a_fresh_lease,
            a_parked_task_past_its_deadline_is_overdue,
            overdue_names_no_more_than_asked_and_nothing_finished,
        }
        commit {
            every_event_is_stored_as_it_was_applied,
            a_conflict_changes_nothing,
            a_repeated_commit_is_applied_and_counts_once,
            a_fence_of_an_earlier_epoch_than_the_task_is_a_conflict,
            a_fence_read_in_a_later_epoch_holds_for_a_task_that_was_not_lost,
            a_commit_of_an_unknown_task_is_a_conflict,
            verdicts_come_in_order_and_a_conflict_spoils_no_other,
            of_many_commits_at_once_one_wins,
            a_running_task_that_is_cancelled_fences_its_worker,
            a_large_outcome_is_kept_whole,
            a_task_keeps_its_past_through_many_attempts,
        }
        parked {
            a_parked_batch_is_held_back_and_others_go_on,
            a_resumed_batch_has_the_next_turn_in_its_order,
            a_parked_batch_takes_no_turns_and_joins_again_as_the_first,
            a_conflict_parks_nothing,
            tasks_added_to_a_parked_batch_are_held_too,
            a_delayed_task_that_comes_due_in_a_parked_batch_is_held,
            a_task_held_back_can_be_cancelled,
            resuming_what_is_not_parked_changes_nothing,
        }
        budget {
            a_batch_starts_no_more_than_its_budget_can_pay_for,
            what_an_answer_cost_less_than_it_might_is_there_for_the_next,
            however_an_attempt_ends_it_is_settled_once,
            a_late_worker_settles_nothing,
            a_batch_that_can_pay_for_nothing_more_is_parked_until_it_may_spend_more,
            a_budget_is_never_set_below_what_is_spent_and_reserved,
            a_batch_short_of_budget_leaves_the_turns_and_joins_again_as_the_last,
            a_batch_short_of_budget_takes_turns_at_no_priority,
            a_batch_short_of_budget_waits_with_what_would_fit_as_well,
            a_batch_short_of_budget_has_one_turn_at_each_priority_again,
            a_task_that_cannot_be_paid_for_can_be_cancelled_and_others_go_on,
            workers_that_acquire_at_once_never_pass_a_budget,
            a_reopened_store_knows_what_is_spent_and_reserved,
            a_task_that_waits_aside_reserves_nothing_until_its_call_goes_out,
            a_task_that_ends_aside_leaves_the_reservations_of_others_alone,
        }
        batch {
            counts_follow_every_transition,
            usage_sums_every_answer_once,
            a_batch_is_done_when_closed_and_all_its_tasks_are_terminal,
            closing_ends_an_open_batch,
            the_log_holds_every_transition_in_order,
            the_log_is_read_in_pages,
            a_log_and_its_batch_are_of_one_instant,
            an_unknown_batch_is_nothing,
        }
        reading {
            lookups_answer_in_order_and_unknown_ids_are_missing,
            writes_are_read_at_once_a_thousand_times,
            a_batch_is_listed_in_order_of_submission_page_by_page,
            all_batches_are_listed_newest_first_page_by_page,
            stats_count_what_is_there,
            a_reopened_store_has_forgotten_nothing,
            a_reopened_store_hands_out_in_the_same_order,
            a_task_that_ran_while_the_store_was_reopened_is_held_or_given_back,
        }
        lead {
            a_key_has_one_lead_and_every_bidder_is_told,
            of_many_bids_at_once_one_wins,
            a_bid_takes_the_place_that_it_names_and_no_other,
            a_bid_over_anybody_takes_any_place,
            a_task_follows_itself_and_never_falls_back,
            keys_are_led_apart_from_each_other,
            a_lead_is_over_after_its_time,
            a_lead_that_was_prolonged_outlives_a_sweep,
            a_forgotten_lead_leaves_its_key_free,
            a_reopened_store_knows_its_leads,
        }
        feed {
            every_transition_is_announced_after_it_is_written,
            progress_is_announced,
            what_happens_to_a_batch_is_announced,
        }
        output {
            output_is_read_from_any_place_while_it_grows,
            a_repeated_piece_is_taken_once_and_a_missing_one_is_missed,
            only_who_holds_a_task_extends_its_output,
            a_late_worker_adds_nothing_and_the_next_attempt_begins_with_nothing,
            output_is_gone_when_its_task_moves,
            what_a_task_had_put_out_is_kept_with_its_end,
            output_has_a_bound_and_is_read_in_pages,
            output_is_hinted_at_and_changes_nothing_else,
        }
        retention {
            a_finished_task_is_expired_after_its_retention,
            sweeping_spares_what_is_alive,
        }
        slot {
            a_value_is_swapped_by_whoever_read_it_last,
            of_many_swaps_at_once_one_is_made,
            a_value_goes_after_its_time_and_its_version_does_not_return,
        }
    }
    // Six servers take seconds to become a cluster: there, what differs over many nodes.
    on [redis_cluster: cluster] {
        submit {
            a_task_is_found_as_it_was_given,
            a_repeated_key_answers_what_it_first_made,
            many_submits_at_once_with_one_key_make_one_batch,
        }
        queue {
            acquire_takes_no_more_than_asked_and_says_whether_there_may_be_more,
            workers_that_acquire_at_once_never_share_a_task,
            a_task_waits_for_its_not_before_and_the_store_says_how_long,
        }
        lease {
            renewing_a_lost_lease_says_so_in_order,
            a_call_once_marked_as_sent_stays_so_until_the_task_moves,
            a_late_worker_is_fenced_off,
        }
        commit { verdicts_come_in_order_and_a_conflict_spoils_no_other }
        output { only_who_holds_a_task_extends_its_output }
        budget { workers_that_acquire_at_once_never_pass_a_budget }
        parked { a_resumed_batch_has_the_next_turn_in_its_order }
        reading {
            lookups_answer_in_order_and_unknown_ids_are_missing,
            all_batches_are_listed_newest_first_page_by_page,
            stats_count_what_is_there,
            a_reopened_store_has_forgotten_nothing,
        }
        lead {
            of_many_bids_at_once_one_wins,
            keys_are_led_apart_from_each_other,
            a_forgotten_lead_leaves_its_key_free,
        }
        feed { every_transition_is_announced_after_it_is_written }
        slot { of_many_swaps_at_once_one_is_made }
    }
    on [redis_sentinel: sentinel] {
        submit { a_task_is_found_as_it_was_given }
        commit { every_event_is_stored_as_it_was_applied }
        feed { every_transition_is_announced_after_it_is_written }
    }
    on [
        model_small: small_model,
        embedded_small: small_embedded,
        redis_small: small_redis,
        redis_in_four_small: small_redis_in_four
    ] {
        capacity {
            a_store_takes_tasks_up_to_its_limit_and_no_more,
            a_store_takes_bytes_up_to_its_limit_and_no_more,
            of_many_submits_at_once_no_more_than_fit_are_accepted,
            a_task_that_ends_in_any_way_makes_room,
            a_task_that_ends_makes_room_for_one,
            tasks_that_wait_take_room_until_they_end,
            what_a_full_store_holds_goes_on,
            a_full_store_answers_what_it_accepted_before,
            a_full_store_takes_no_append_and_no_retry,
            a_refusal_leaves_nothing_behind,
            a_reopened_store_knows_how_full_it_is,
        }
    }
    on [redis_cluster_small: small_cluster] {
        capacity { a_refusal_leaves_nothing_behind }
    }
    // These need a clock that can leap a day.
    on [model_leaping: model, embedded_leaping: embedded] {
        submit { a_key_is_forgotten_after_its_window }
        retention {
            an_expired_task_is_missing_after_another_day,
            a_finished_batch_is_swept_a_day_after_its_last_task,
            an_open_batch_is_never_swept,
        }
    }
}

async fn run(case: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, case)
        .await
        .expect("the case hangs");
}
